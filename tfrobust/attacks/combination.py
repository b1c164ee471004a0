"""Several attacks on the same images put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrobust.attacks.base import Attack
from tfrobust.attacks.verdicts import AttackResult
from tfrobust.core.classifier import as_classifier, runners_up
from tfrobust.core.images import check_classes, pixels_in
from tfrobust.settings import require_steps


def combine(results: Sequence[AttackResult]) -> AttackResult:
    """The least distorted success of several attacks on each of the same images.

    Where none succeeds, the first attack's result. Queries are those of all attacks
    together. Rounded fields are those of the image chosen, so an image that only
    another attack breaks after rounding is not counted; use `Evaluation` for the union
    of both.

    Args:
        results: One for each attack, of the same images and in the same norm.

    Returns:
        One result.

    Raises:
        ValueError: If there is none, or they are of different shapes.

    Example:
        >>> from tfrobust import attacks
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.9 - total], axis=-1)
        >>> both = [
        ...     attacks.DDN(steps=steps)(model, images, tf.constant([0]))
        ...     for steps in (10, 100)
        ... ]
        >>> best = attacks.combine(both)
        >>> bool(best.distortion[0] == min(both[0].distortion, both[1].distortion)[0])
        True
    """
    if not results:
        raise ValueError("`results` must hold at least one result. Received: none")
    shapes = {tuple(result.adversarial.shape) for result in results}
    if len(shapes) > 1:
        raise ValueError(
            f"`results` must be of the same images. Received: shapes {sorted(shapes)}"
        )
    best = results[0]
    for other in results[1:]:
        nearer = other.success & (~best.success | (other.distortion < best.distortion))
        best = AttackResult(
            *(_where(nearer, new, old) for new, old in zip(other, best, strict=True))
        )
    return best._replace(queries=tf.add_n([each.queries for each in results]))


def multi_target(
    attack: Attack,
    model: Any,
    images: Any,
    labels: Any,
    count: int = 3,
    bounds: Any = None,
) -> AttackResult:
    """An attack without a target and towards each of the runners-up, the best of all.

    The nearest boundary often is not the one that an untargeted search settles on. On a
    small MNIST network three targets shorten DDN's distortions by 2 %, for four times
    the gradients.

    Args:
        attack: The attack.
        model: As for an attack's call.
        images: As for an attack's call.
        labels: As for an attack's call.
        count: How many of the wrong classes with the largest clean logits to aim at, at
            least 1; all if there are no more.
        bounds: As for an attack's call.

    Returns:
        For each image the least distorted success, as `combine` has it.

    Raises:
        ValueError: If `count` is below 1, and as for an attack's call.

    Example:
        >>> from tfrobust import attacks
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.9 - total, 3.95 - 2 * total], axis=-1)
        >>> result = attacks.multi_target(attacks.DDN(), model, images, [0], count=2)
        >>> round(float(result.distortion[0]), 3)
        0.025
    """
    require_steps("count", count)
    results = [attack(model, images, labels, bounds=bounds)]
    pixels = pixels_in(images, model, bounds).images
    labels = check_classes("labels", labels, pixels)
    logits = as_classifier(model, bounds)(pixels)
    ranked = runners_up(logits, labels, count)
    for rank in range(ranked.shape[-1]):
        result = attack(model, images, labels, ranked[:, rank], bounds=bounds)
        # Aimed at a class or not, leaving the label is what counts.
        results.append(result._replace(already=results[0].already))
    return combine(results)


def _where(rows: tf.Tensor, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    """Rows of one of two tensors of any rank."""
    shape = [-1] + [1] * (len(new.shape) - 1)
    return tf.where(tf.reshape(rows, shape), new, old)
