"""How much the input-gradient changes over a small distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.core.classifier import Loss
from tfrobust.core.gradients import input_gradient
from tfrobust.core.seeds import seeds_of
from tfrobust.core.vectors import norms, unit
from tfrobust.geometry.curvatures import EPSILON
from tfrobust.geometry.loss import evaluate
from tfrobust.geometry.propositions import relative_gradient_bound
from tfrobust.settings import require_seed, require_steps


def gradient_stability(
    model: Any,
    images: Any,
    labels: Any,
    radii: float | Sequence[float],
    samples: int = 1,
    seed: int = 0,
    *,
    bounds: Any = None,
) -> tf.Tensor:
    """Relative change of each example's input-gradient at several distances.

    `norm(g(x + d) - g(x)) / norm(g(x))` for a random direction d of norm r, averaged
    over `samples` directions. The directions of an image are uniform on the sphere, the
    same for every radius, and depend on the image and `seed` alone, not on the batch.
    Moved images are *not* clipped to the bounds: clipping would shorten d, and the
    radius would no longer be what the axis of the plot says.

    Costs `samples * len(radii) + 1` gradients.

    Args:
        model: As for `gradient_norm`.
        images: As for `gradient_norm`.
        labels: As for `gradient_norm`.
        radii: Euclidean norms of d in units of images in [0, 1], whatever the bounds,
            each positive; 1e-3 to 1e-1 in the paper. Far below 1e-3, float32 rounding
            of the gradients shows.
        samples: Directions for each image, at least 1.
        seed: Of the directions, in [0, 2**31).
        bounds: As for `gradient_norm`.

    Returns:
        float32 `[R, B]`, one row for each radius.

    Raises:
        ValueError: As for `gradient_norm`, or if a setting is out of range.

    Reference: Srinivas et al. 2022 (LCNN), section 5, gradient robustness.

    Example:
        >>> import tensorflow as tf
        >>> from tfrobust import geometry
        >>> model = lambda x: tf.concat([x, -x], axis=-1)
        >>> images, labels = tf.zeros([3, 1]), [0, 1, 0]
        >>> change = geometry.gradient_stability(model, images, labels, 0.1)
        >>> change.shape, bool(tf.reduce_all(change < 0.11))
        (TensorShape([1, 3]), True)
    """
    distances = tf.constant(_check_radii(radii), tf.float32)
    require_steps("samples", samples)
    require_seed(seed)
    settings = {"samples": int(samples), "seed": int(seed)}
    return evaluate(
        model, _stability, images, labels, distances, bounds=bounds, **settings
    )


def stability_bound(curvature: Any, radii: float | Sequence[float]) -> np.ndarray:
    """The theory's curve beside `gradient_stability`: radius times curvature.

    The norm of the Hessian bounds what any direction can do, so a random one usually
    stays far below. With the curvature *at* the images this is exact for quadratics and
    first order in the radius otherwise: at a large radius a measured change may exceed
    it. With the largest curvature along the way, `relative_gradient_bound` with
    `maximal=True` holds at any radius.

    Args:
        curvature: `[B]`, at least 0, as from `curvature`.
        radii: Euclidean norms, each positive.

    Returns:
        float64 `[R, B]`.

    Raises:
        ValueError: If an argument is out of range.

    Reference: Srinivas et al. 2022 (LCNN), proposition 1.

    Example:
        >>> stability_bound([1.0, 4.0], [0.25, 0.5]).tolist()
        [[0.25, 1.0], [0.5, 2.0]]
    """
    distances = np.asarray(_check_radii(radii))
    return relative_gradient_bound(np.ravel(curvature), distances[:, None])


def _check_radii(radii: float | Sequence[float]) -> list[float]:
    values = np.ravel(np.asarray(radii, np.float64))
    if values.size == 0 or not np.all((values > 0) & np.isfinite(values)):
        raise ValueError(
            "`radii` must be positive finite numbers, at least one. "
            f"Received: radii={radii}"
        )
    return values.tolist()


def _stability(
    loss: Loss,
    images: tf.Tensor,
    labels: tf.Tensor,
    radii: tf.Tensor,
    samples: int,
    seed: int,
) -> tf.Tensor:
    def gradient_at(points: tf.Tensor) -> tf.Tensor:
        return input_gradient(lambda x: loss(x, labels), points)

    origin = gradient_at(images)
    size = norms(origin)

    def changes(sample: tf.Tensor) -> tf.Tensor:
        """`[R, B]`, along one direction for each image."""
        direction = _directions(images, seeds_of(images, seed, sample))

        def change(radius: tf.Tensor) -> tf.Tensor:
            moved = gradient_at(images + radius * direction)
            return norms(moved - origin) / (size + EPSILON)

        return tf.map_fn(change, radii, parallel_iterations=1)

    deviations = tf.map_fn(
        changes,
        tf.range(samples, dtype=tf.int64),
        fn_output_signature=tf.float32,
        parallel_iterations=1,
    )
    mean = tf.stop_gradient(tf.reduce_mean(deviations, axis=0))
    return tf.ensure_shape(mean, [radii.shape[0], images.shape[0]])


def _directions(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """A unit vector for each image, uniform on the sphere."""
    shape = tf.shape(images)[1:]

    def draw(seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_normal(shape, seed, alg="philox")

    drawn = tf.map_fn(draw, seeds, fn_output_signature=tf.float32)
    return unit(tf.ensure_shape(drawn, images.shape))
