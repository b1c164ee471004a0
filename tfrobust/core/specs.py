"""An object and its settings as one word: `pgd:norm=inf,eps=8/255,steps=10`.

Only the text is read here, without the classes that it names, so that a program can
refuse a malformed one before it imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from tfrobust.core.fractions import format_fraction, parse_fraction

_Object = TypeVar("_Object")

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = (bool, int, float, str)


class Spec(NamedTuple):
    """A name and settings, as they were written.

    Attributes:
        name: Of the class.
        settings: The text of each value by the name of its setting.

    Example:
        >>> spec = Spec.parse("pgd:norm=inf,eps=8/255")
        >>> spec.name, spec.settings
        ('pgd', {'norm': 'inf', 'eps': '8/255'})
        >>> str(spec)
        'pgd:norm=inf,eps=8/255'
    """

    name: str
    settings: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Splits `name:setting=value,...`.

        Args:
            text: A name, and after a colon any number of settings with commas between.

        Raises:
            ValueError: If it is not of that form or gives a setting twice.
        """
        name, colon, rest = text.strip().partition(":")
        settings: dict[str, str] = {}
        pairs = [pair.partition("=") for pair in rest.split(",")] if colon else []
        for key, _, value in pairs:
            key, value = key.strip(), value.strip()
            if not _WORD.fullmatch(key) or not value:
                raise _malformed(text)
            if key in settings:
                raise ValueError(
                    f"A setting must be given once. Received: {key} twice in {text!r}"
                )
            settings[key] = value
        if not _WORD.fullmatch(name):
            raise _malformed(text)
        return cls(name, settings)

    def __str__(self) -> str:
        pairs = ",".join(f"{name}={text}" for name, text in self.settings.items())
        return f"{self.name}:{pairs}" if pairs else self.name


def _malformed(text: str) -> ValueError:
    return ValueError(
        "A name with settings must be written like pgd:norm=inf,eps=8/255. "
        f"Received: {text!r}"
    )


def settings_of(kind: Callable[..., Any]) -> dict[str, Any]:
    """The settings that a text can give, and the type of each.

    Args:
        kind: A class or function. Its settings are its named parameters, of a dataclass
            its fields. A parameter without an annotation is of the type of its default.

    Returns:
        Types by name. Types other than numbers, booleans, words and `None` are left
        out, and settings of no other type with them.

    Example:
        >>> from tfrobust.core.fractions import Eps
        >>> settings_of(Eps)
        {'value': <class 'float'>, 'text': <class 'str'>}
        >>> def smooth(images, *, width: int = 3, rule="mean"): ...
        >>> settings_of(smooth)
        {'width': <class 'int'>, 'rule': <class 'str'>}
    """
    annotated: Any = kind
    if isinstance(kind, type) and not dataclasses.is_dataclass(kind):
        annotated = typing.cast(Any, kind).__init__
    hints = typing.get_type_hints(annotated)
    types_of = {
        parameter.name: hints.get(parameter.name, type(parameter.default))
        for parameter in _parameters(kind)
    }
    plain = {
        name: [member for member in _members(type_) if _is_plain(member)]
        for name, type_ in types_of.items()
    }
    return {
        name: functools.reduce(operator.or_, members)
        for name, members in plain.items()
        # Of `None` alone it is not known what else there may be.
        if members and members != [type(None)]
    }


def parameters_of(kind: Callable[..., Any]) -> tuple[str, ...]:
    """Names of all parameters that a class or function takes by name.

    Example:
        >>> from tfrobust.core.fractions import Eps
        >>> parameters_of(Eps)
        ('value', 'text')
    """
    return tuple(parameter.name for parameter in _parameters(kind))


def _is_bare(kind: Callable[..., Any], name: str) -> bool:
    """Whether a parameter has neither a default nor an annotation."""
    empty = inspect.Parameter.empty
    return any(
        (each.name, each.default, each.annotation) == (name, empty, empty)
        for each in _parameters(kind)
    )


def _parameters(kind: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters that can be given by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(kind).parameters.values()
    return [parameter for parameter in parameters if parameter.kind in named]


def build(
    kind: Callable[..., _Object],
    spec: Spec,
    defaults: Mapping[str, Any],
    arguments: Sequence[Any] = (),
) -> _Object:
    """Calls a class or function with settings from a text.

    Args:
        kind: The class or function.
        spec: Its settings as text. A value is read by the type of its setting: a number
            or a fraction such as 8/255, `true` or `false`, `none`, or a word.
        defaults: Settings by name, of any type, used where there is such a one and the
            text does not give it.
        arguments: What comes first, by position, and is no setting.

    Returns:
        What it makes.

    Raises:
        ValueError: If a setting does not exist or is missing, a value is of another
            type, or the class refuses one.

    Example:
        >>> from tfrobust.core.fractions import Eps
        >>> build(Eps, Spec.parse("eps:value=51/255"), {"text": "a fifth"})
        Eps(value=0.2, text='a fifth')
        >>> def repeat(word, times: int = 2): return word * times
        >>> build(repeat, Spec.parse("repeat:times=3"), {}, ["ab"])
        'ababab'
    """
    parameters = _parameters(kind)[len(arguments) :]
    required = [each.name for each in parameters if each.default is each.empty]
    names = {each.name for each in parameters}
    values = {name: value for name, value in defaults.items() if name in names}
    values |= read(kind, spec, len(arguments))
    if missing := [name for name in required if name not in values]:
        raise ValueError(
            f"{spec.name} must be given {' and '.join(required)}. "
            f"Received: {spec}, without {' and '.join(missing)}"
        )
    try:
        return kind(*arguments, **values)
    except ValueError as error:
        raise ValueError(f"{spec.name}: {error}") from error


def read(kind: Callable[..., Any], spec: Spec, skip: int = 0) -> dict[str, Any]:
    """The settings that a text gives, each of its type.

    Args:
        kind: The class or function that they are for.
        spec: The text.
        skip: How many of its parameters come first, by position, and are no settings.

    Returns:
        Values by name.

    Raises:
        ValueError: If a setting does not exist or a value is of another type.

    Example:
        >>> from tfrobust.core.fractions import Eps
        >>> read(Eps, Spec.parse("eps:value=51/255"))
        {'value': 0.2}
    """
    types_of = settings_of(kind)
    allowed = [name for name in parameters_of(kind)[skip:] if name in types_of]
    values = {}
    for name, text in spec.settings.items():
        if name in parameters_of(kind)[skip:] and _is_bare(kind, name):
            raise ValueError(
                f"`{name}` of {spec.name} must have a default or an annotation, which "
                f"say how to read it. Received: {name}={text}"
            )
        if name not in allowed:
            raise ValueError(
                f"Settings of {spec.name} must be among "
                f"{', '.join(allowed) or 'none'}. Received: {name}={text}"
            )
        try:
            values[name] = _value(types_of[name], text)
        except ValueError:
            raise ValueError(
                f"`{name}` of {spec.name} must be {_allowed(types_of[name])}. "
                f"Received: {name}={text}"
            ) from None
    return values


def spec_of(name: str, instance: Any) -> Spec:
    """The shortest text that makes an object like this one.

    Args:
        name: Of its class.
        instance: A dataclass object whose settings a text can give.

    Raises:
        ValueError: If a setting other than its default cannot be written as text.

    Example:
        >>> from tfrobust.core.fractions import Eps
        >>> str(spec_of("eps", Eps(8 / 255, "small")))
        'eps:value=8/255,text=small'
    """
    plain = settings_of(type(instance))
    settings = {}
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if not field.init or value == field.default:
            continue
        text = _text(value)
        if field.name not in plain or any(mark in text for mark in ",="):
            raise ValueError(
                f"`{field.name}` of {name} must be a number or a word to be written "
                f"as text. Received: {value!r}"
            )
        settings[field.name] = text
    return Spec(name, settings)


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return format_fraction(value) if isinstance(value, float) else str(value)


def _members(kind: Any) -> tuple[Any, ...]:
    """The types that a union is of; of another type, that type."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)
    return (kind,)


def _is_plain(kind: Any) -> bool:
    literal = typing.get_origin(kind) is typing.Literal
    return literal or kind in _PLAIN or kind is type(None)


def _value(kind: Any, text: str) -> Any:
    """A text as a value of a type; `ValueError` if it is none."""
    for member in sorted(_members(kind), key=_order):
        try:
            return _simple_value(member, text)
        except ValueError:
            continue
    raise ValueError(text)


def _order(kind: Any) -> int:
    """Narrower types are tried first: every text is a word."""
    order = (type(None), bool, int, float)
    return order.index(kind) if kind in order else len(order) + (kind is str)


def _simple_value(kind: Any, text: str) -> Any:
    """A text as a value of a type that is no union; `ValueError` if it is none."""
    if kind is int:
        return int(text)
    if kind is float:
        # Whole numbers as Python has them: `norm=2` is the integer.
        return int(text) if text.isdecimal() else parse_fraction(text)
    if kind is str:
        return text
    words = {bool: (False, True), type(None): (None,)}
    for word in words.get(kind) or typing.get_args(kind):
        if text == _text(word):
            return word
    raise ValueError(text)


def _allowed(kind: Any) -> str:
    """What a value of a type may be, as it follows "must be"."""
    words = {
        type(None): "none",
        bool: "true or false",
        int: "an integer",
        float: "a number such as 0.1 or 8/255",
        str: "a word",
    }
    return " or ".join(
        words.get(member) or "one of " + ", ".join(map(str, typing.get_args(member)))
        for member in sorted(_members(kind), key=lambda kind: kind is type(None))
    )
