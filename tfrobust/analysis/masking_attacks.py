"""The attacks that show whether a model hides its gradients, by name."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from tfrobust.attacks import BIM, FGSM, PGD, Attack, Square

SEARCH = "square"
"""What the random search is called."""

_GROWTH = (2, 4, 8, 16)


def gradient_attacks(plain: PGD, classes: int, restarts: int) -> dict[str, Attack]:
    """The gradient attacks of `masking_check` by name.

    Example:
        >>> sorted(gradient_attacks(PGD(norm=2, eps=0.5), 2, 1))
        ['bim', 'fgsm', 'pgd', 'pgd_margin']
    """
    often = dataclasses.replace(plain, loss="margin", restarts=restarts)
    attacks: dict[str, Attack] = {
        "pgd": plain,
        "bim": BIM(norm=plain.norm, eps=plain.eps, steps=plain.steps),
        "fgsm": FGSM(norm=plain.norm, eps=plain.eps),
        "pgd_margin": often,
    }
    if classes >= 3:
        attacks["pgd_dlr"] = dataclasses.replace(often, loss="dlr")
    return attacks


def search_attacks(
    norm: float | str, eps: float, queries: int, seed: int
) -> dict[str, Attack]:
    """The random search of `masking_check` by name.

    Example:
        >>> list(search_attacks(1, 0.5, 10, 0))
        ['square']
    """
    return {SEARCH: Square(norm=norm, eps=eps, queries=queries, seed=seed)}


def growth_name(radius: float) -> str:
    """What the attack of a larger radius is called in `MaskingReport.evaluation`.

    Example:
        >>> growth_name(0.25)
        'pgd at eps 0.25'
    """
    return f"pgd at eps {radius:.4g}"


def growing_radii(norm: float | str, eps: float, images: tf.Tensor) -> list[float]:
    """Growing radii, the last that of the box [0, 1].

    Example:
        >>> growing_radii(2, 0.5, tf.zeros([1, 2, 2, 1]))
        [1.0, 2.0]
    """
    size = math.prod(images.shape[1:])
    box = {1: float(size), 2: math.sqrt(size)}.get(norm, 1.0)  # type: ignore[call-overload]
    return [*(times * eps for times in _GROWTH if times * eps < box), box]
