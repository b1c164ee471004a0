"""How much the input-gradient changes over a small distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.core.classifier import Loss
from tfrobust.core.gradients import input_gradient
from tfrobust.core.vectors import norms
from tfrobust.geometry.curvatures import EPSILON
from tfrobust.geometry.directions import check_radii, over_directions
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

    Reference: Srinivas et al. 2022 (LCNN), section 5.2, Figure 2.

    Example:
        >>> import tensorflow as tf
        >>> from tfrobust import geometry
        >>> model = lambda x: tf.concat([x, -x], axis=-1)
        >>> images, labels = tf.zeros([3, 1]), [0, 1, 0]
        >>> change = geometry.gradient_stability(model, images, labels, 0.1)
        >>> change.shape, bool(tf.reduce_all(change < 0.11))
        (TensorShape([1, 3]), True)
    """
    distances = tf.constant(check_radii(radii), tf.float32)
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

    Reference: Srinivas et al. 2022 (LCNN), section 4.1, Proposition 1.

    Example:
        >>> stability_bound([1.0, 4.0], [0.25, 0.5]).tolist()
        [[0.25, 1.0], [0.5, 2.0]]
    """
    distances = np.asarray(check_radii(radii))
    return relative_gradient_bound(np.ravel(curvature), distances[:, None])


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

    def change(step: tf.Tensor) -> tf.Tensor:
        return norms(gradient_at(images + step) - origin) / (size + EPSILON)

    return over_directions(change, images, radii, samples, seed)
