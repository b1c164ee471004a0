"""How far the loss is from its tangent plane over a small distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrobust.core.classifier import Loss
from tfrobust.core.gradients import values_and_gradient
from tfrobust.core.vectors import norms
from tfrobust.geometry.curvatures import EPSILON
from tfrobust.geometry.directions import check_radii, over_directions
from tfrobust.geometry.loss import evaluate
from tfrobust.settings import require_seed, require_steps


def linearization_error(
    model: Any,
    images: Any,
    labels: Any,
    radii: float | Sequence[float],
    samples: int = 1,
    seed: int = 0,
    *,
    bounds: Any = None,
) -> tf.Tensor:
    """Relative local linearity: what the loss's first-order expansion leaves out.

    `|l(x + d) - l(x) - g(x)'d| / norm(g(x))` for a random direction d of norm r,
    averaged over `samples` directions, which are those of `gradient_stability`. It is a
    distance: how far one would have to go down the gradient for a change of the loss as
    large as the error. Half of r squared times the curvature bounds it to second order
    in r, see `linearization_bound`. Moved images are not clipped to the bounds.

    It is a difference of numbers that are nearly equal: in float32 those of a loss near
    1 carry an error of about `1e-7 / norm(g(x))`, which hides the answer where it is
    smaller than that, at radii below 1e-2 with an almost linear loss.

    Costs one gradient and `samples * len(radii)` forward passes.

    Args:
        model: As for `gradient_norm`.
        images: As for `gradient_norm`.
        labels: As for `gradient_norm`.
        radii: Euclidean norms of d in units of images in [0, 1], whatever the bounds,
            each positive.
        samples: Directions for each image, at least 1.
        seed: Of the directions, in [0, 2**31).
        bounds: As for `gradient_norm`.

    Returns:
        float32 `[R, B]`, one row for each radius, in units of distance.

    Raises:
        ValueError: As for `gradient_norm`, or if a setting is out of range.

    Reference: Srinivas et al. 2022 (LCNN), section 3.1, equation 1 (LCNN-E1); Qin et
    al. 2019 measure and train the numerator.

    Example:
        >>> import tensorflow as tf
        >>> from tfrobust import geometry
        >>> model = lambda x: tf.concat([x, -x], axis=-1)
        >>> images, labels = tf.zeros([3, 1]), [0, 1, 0]
        >>> error = geometry.linearization_error(model, images, labels, [0.1, 0.2])
        >>> error.shape, bool(tf.reduce_all(error[1] < 0.02))
        (TensorShape([2, 3]), True)
    """
    distances = tf.constant(check_radii(radii), tf.float32)
    require_steps("samples", samples)
    require_seed(seed)
    settings = {"samples": int(samples), "seed": int(seed)}
    return evaluate(
        model, _linearization, images, labels, distances, bounds=bounds, **settings
    )


def _linearization(
    loss: Loss,
    images: tf.Tensor,
    labels: tf.Tensor,
    radii: tf.Tensor,
    samples: int,
    seed: int,
) -> tf.Tensor:
    start, slope = values_and_gradient(lambda x: loss(x, labels), images)
    size = norms(slope)
    axes = list(range(1, len(images.shape)))

    def error(step: tf.Tensor) -> tf.Tensor:
        rise = loss(images + step, labels) - start
        return tf.abs(rise - tf.reduce_sum(slope * step, axes)) / (size + EPSILON)

    return over_directions(error, images, radii, samples, seed)
