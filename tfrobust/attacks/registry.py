"""Attacks by name: `pgd:norm=inf,eps=8/255,steps=10`, from text and back.

A command line, a flagfile and a record of results name an attack in the same way. An
attack of one's own takes part once its class is registered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from tfrobust.attacks.base import Attack
from tfrobust.core.fractions import format_fraction
from tfrobust.core.registry import Makers
from tfrobust.core.specs import settings_of, spec_of

_ATTACKS: Makers[Attack] = Makers("attack")
_TITLES: dict[type[Attack], str] = {}

_AttackClass = TypeVar("_AttackClass", bound=type[Attack])


def register(name: str, title: str = "") -> Callable[[_AttackClass], _AttackClass]:
    """Makes an attack known by name; a decorator of its class.

    Args:
        name: Lower-case letters, digits and underscores, a letter first.
        title: What tables call it; the name of the class if empty.

    Returns:
        A function that registers a class and returns it.

    Raises:
        ValueError: If the name is malformed or belongs to another class.

    Example:
        >>> import dataclasses
        >>> from tfrobust import attacks
        >>> @attacks.register("darken")
        ... @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Darken(attacks.FixedBudget):
        ...     norm: float | str = "inf"
        ...     def run(self, problem):
        ...         return problem.images - problem.eps[:, None, None, None]
        >>> attacks.parse("darken:eps=8/255").eps == 8 / 255
        True
    """

    def add(kind: _AttackClass) -> _AttackClass:
        _ATTACKS.add(name, kind)
        _TITLES[kind] = title or kind.__name__
        return kind

    return add


def names() -> tuple[str, ...]:
    """Names of all registered attacks, in alphabetical order.

    Example:
        >>> from tfrobust import attacks
        >>> {"ddn", "fgsm", "pgd", "square"} <= set(attacks.names())
        True
    """
    return _ATTACKS.names()


def parse(text: str, **defaults: Any) -> Attack:
    """The attack that a text names, with its settings.

    Args:
        text: A name, and after a colon any number of settings with commas between:
            `pgd`, `ddn:steps=200`, `square:queries=5000,eps=8/255,norm=inf`. Numbers
            may be fractions; a switch is `true` or `false`, nothing is `none`.
        **defaults: Settings that the attack takes, if it has them, where the text does
            not give them.

    Returns:
        The attack.

    Raises:
        ValueError: If there is no such attack or setting, a value does not parse or is
            out of range, or a setting without a default is missing.

    Example:
        >>> from tfrobust import attacks
        >>> attacks.parse("fgsm:eps=51/255")
        FGSM(norm='inf', eps=0.2, loss='cross_entropy')
        >>> attacks.parse("ddn", norm=2, eps=0.5) == attacks.DDN()
        True
    """
    return _ATTACKS.make(text, **defaults)


def spec(attack: Attack) -> str:
    """The shortest text from which `parse` makes an equal attack.

    Args:
        attack: An attack of a registered class.

    Raises:
        ValueError: If its class is not registered, or a setting is neither a number
            nor a word.

    Example:
        >>> from tfrobust import attacks
        >>> attacks.spec(attacks.PGD(norm="inf", eps=8 / 255, steps=20))
        'pgd:norm=inf,eps=8/255'
    """
    name = _ATTACKS.name_of(type(attack))
    if name is None:
        raise ValueError(
            "`attack` must be of a registered class. Received: a "
            f"{type(attack).__name__}"
        )
    return str(spec_of(name, attack))


def describe(attack: Attack) -> dict[str, Any]:
    """The settings of an attack for a record of results, ready for JSON.

    Args:
        attack: Any attack.

    Returns:
        `method`, the registered name or that of the class; `norm`, such as "L2" or
        "Linf"; `eps` where there is a radius; and every other setting that is a number,
        a word, a switch or `None`.

    Example:
        >>> from tfrobust import attacks
        >>> attacks.describe(attacks.FGSM(eps=0.1))
        {'method': 'fgsm', 'norm': 'Linf', 'eps': 0.1, 'loss': 'cross_entropy'}
    """
    settings: dict[str, Any] = {
        "method": _ATTACKS.name_of(type(attack)) or type(attack).__name__,
        "norm": _norm(attack),
    }
    if attack.budget is not None:
        settings["eps"] = attack.budget
    for name in settings_of(type(attack)):
        if name not in ("norm", "eps"):
            settings[name] = getattr(attack, name)
    return settings


def title(attack: Attack) -> str:
    """Name, norm and radius of an attack, short enough for a table.

    Example:
        >>> from tfrobust import attacks
        >>> attacks.title(attacks.PGD(norm="inf", eps=8 / 255))
        'PGD Linf 8/255'
        >>> attacks.title(attacks.CarliniWagnerL2())
        'C&W L2'
    """
    words = [_TITLES.get(type(attack), type(attack).__name__), _norm(attack)]
    if attack.budget is not None:
        exact = format_fraction(attack.budget)
        words.append(exact if "/" in exact else f"{attack.budget:g}")
    return " ".join(words)


def _norm(attack: Attack) -> str:
    return str(dataclasses.replace(attack.threat, eps=None))
