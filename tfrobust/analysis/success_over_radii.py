"""The least distorted success of an attack over several radii.

How an attack within a radius is scored beside attacks that look for the smallest
perturbation; see `tfrobust.analysis.characteristics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import gathered
from tfrobust.analysis.characteristics import remeasure
from tfrobust.attacks import Attack, AttackResult, combine


def smallest_success(
    attack: Attack,
    model: Any,
    images: Any,
    labels: Any,
    eps: Sequence[float],
    *,
    targets: Any = None,
    norm: float | str | None = None,
    rounded: bool = False,
    early_stop: bool = False,
    bounds: Any = None,
) -> AttackResult:
    """The least distorted success of an attack over several radii, for each image.

    How an attack that aims at a distortion is compared with one that minimises it. The
    attack's own radius is not used; the radii share one graph. Its `step_size` should
    be left to follow the radius. How small the distortions get is decided by how fine
    the radii are: the next radius above an image's smallest perturbation breaks it.

    A larger radius may give a smaller distortion: an iterated attack takes longer steps
    there, and stops at the first success, anywhere within the ball. So an image is
    attacked at every radius, except where it was misclassified from the start.

    Args:
        attack: An attack with a radius, such as `PGD`.
        model: As for an attack's call.
        images: As for an attack's call, in any form; see `tfrobust.analysis`.
        labels: As for an attack's call; `None` where `images` brings them.
        eps: The radii, in the attack's norm and in units of images in [0, 1].
        targets: As for an attack's call.
        norm: The norm in which distortions are compared and reported, as for
            `remeasure`; the attack's own if `None`.
        rounded: Whether the success to keep is that of the image rounded to 8 bits,
            with its distortion.
        early_stop: Leave an image alone above the smallest radius that breaks it. For
            `FGSM` that is as good: a pixel moves the farther, the larger the radius.
            For others it may only raise a distortion. On a small MNIST network 20 to 25
            radii of `BIM` and L2 `PGD` then took a quarter and half of the time, and
            mean distortions rose by 1.5 % and 1.1 %.
        bounds: The range of the pixels, as for an attack's call.

    Returns:
        One result. Where no radius succeeds, that of the smallest.

    Raises:
        ValueError: If the attack has no radius, there are no radii or one is not a
            finite number above 0, and as for an attack's call.

    Example:
        >>> from tfrobust import attacks
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.5 - total], axis=-1)
        >>> attack = attacks.FGSM(eps=1.0, norm=2)
        >>> result = smallest_success(attack, model, images, [0], [0.1, 0.2, 0.5])
        >>> round(float(result.distortion[0]), 3)
        0.2
    """
    radii = _sorted_radii(attack, eps)
    pixels, labels = gathered(images, labels, model, bounds, labeled=True)
    images, bounds = pixels.given, pixels.bounds
    labels = tf.convert_to_tensor(labels)
    targets = None if targets is None else tf.convert_to_tensor(targets)

    def attacked(rows: tf.Tensor, radius: float) -> AttackResult:
        chosen = tf.gather(images, rows)
        goal = None if targets is None else tf.gather(targets, rows)
        classes = tf.gather(labels, rows)
        result = attack(model, chosen, classes, goal, eps=radius, bounds=bounds)
        if norm is not None:
            result = remeasure(result, chosen, norm, bounds=bounds)
        return _exchanged(result) if rounded else result

    best = attacked(tf.range(len(images)), radii[0])
    for radius in radii[1:]:
        done = best.already | best.success if early_stop else best.already
        rows = tf.where(~done)
        if not len(rows):
            break
        so_far = AttackResult(*(tf.gather_nd(field, rows) for field in best))
        result = combine([so_far, attacked(rows[:, 0], radius)])
        best = AttackResult(
            *(
                tf.tensor_scatter_nd_update(field, rows, new)
                for field, new in zip(best, result, strict=True)
            )
        )
    return _exchanged(best) if rounded else best


def smallest_successes(
    attack: Attack,
    model: Any,
    images: Any,
    labels: Any,
    eps: Sequence[float],
    *,
    targets: Any = None,
    norm: float | str = 2,
    bounds: Any = None,
) -> tuple[AttackResult, AttackResult]:
    """`smallest_success` of the images as found and of the rounded ones, in one go.

    The radii are run through once and two choices made from what they found: the least
    distorted success, and the least distorted one after rounding to 8 bits, which may
    be that of another radius.

    Args:
        attack: As for `smallest_success`.
        model: As for an attack's call.
        images: As for an attack's call, in any form; see `tfrobust.analysis`.
        labels: As for an attack's call; `None` where `images` brings them.
        eps: The radii, in the attack's norm and in units of images in [0, 1].
        targets: As for an attack's call.
        norm: As for `remeasure`.
        bounds: The range of the pixels, as for an attack's call.

    Returns:
        What `smallest_success` returns with `rounded` false, and with it true.

    Raises:
        ValueError: As for `smallest_success`.

    Example:
        >>> from tfrobust import attacks
        >>> images = tf.fill([1, 1, 1, 1], 0.2)
        >>> def model(x):
        ...     return tf.concat([x[:, 0, 0], tf.fill([tf.shape(x)[0], 1], 0.1985)], 1)
        >>> nearest, rounded = smallest_successes(
        ...     attacks.FGSM(eps=1.0), model, images, [0], [0.0018, 0.003])
        >>> bool(nearest.success_rounded[0]), bool(rounded.success_rounded[0])
        (False, True)
    """
    pixels, labels = gathered(images, labels, model, bounds, labeled=True)
    images, bounds = pixels.given, pixels.bounds
    results = []
    for radius in _sorted_radii(attack, eps):
        found = attack(model, images, labels, targets, eps=radius, bounds=bounds)
        results.append(remeasure(found, images, norm, bounds=bounds))
    rounded = combine([_exchanged(result) for result in results])
    return combine(results), _exchanged(rounded)


def _sorted_radii(attack: Attack, eps: Sequence[float]) -> list[float]:
    if attack.budget is None:
        raise ValueError(
            f"`attack` must have a radius. Received: {type(attack).__name__}, which "
            "looks for the smallest perturbation by itself"
        )
    radii = sorted({float(radius) for radius in np.ravel(eps)})
    if not radii or not all(0 < radius < math.inf for radius in radii):
        raise ValueError(
            f"`eps` must hold finite numbers above 0. Received: eps={radii}"
        )
    return radii


def _exchanged(result: AttackResult) -> AttackResult:
    """The fields of the image as found and of the rounded one, each for the other."""
    return result._replace(
        success=result.success_rounded,
        distortion=result.distortion_rounded,
        success_rounded=result.success,
        distortion_rounded=result.distortion,
    )
