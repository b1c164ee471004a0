"""How far an image is from another answer, as its gradients and curvature tell."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrobust.core.classifier import as_classifier
from tfrobust.core.differentiable import layers_named
from tfrobust.core.estimates import Estimate, means
from tfrobust.core.gradients import linearize
from tfrobust.core.graphs import GraphCache
from tfrobust.core.images import Pixels, pixels_in
from tfrobust.core.pixels import Bounds
from tfrobust.core.precision import in_single_precision
from tfrobust.core.selection import selected
from tfrobust.core.vectors import norms
from tfrobust.geometry.curvatures import EPSILON, curvature

_GRAPHS = GraphCache()


class Robustness(NamedTuple):
    """What can be said of a classifier's answers without their truth.

    Distances and derivatives are in units of images in [0, 1], whatever the bounds.

    Attributes:
        classes: int32 `[B]`, the most likely class.
        margin: float32 `[B]`, its logit less the next one's, at least 0.
        margin_distance: float32 `[B]`, the margin over the norm of its gradient: the
            distance at which a linear margin would be 0, one step of DeepFool. Infinite
            where the gradient is 0 and the margin is not.
        gradient_norm: float32 `[B]`, of the cross-entropy of that class.
        hessian_norm: float32 `[B]`, of the same.
        curvature: float32 `[B]`, one over the other.
        distance_linear: float32 `[B]`, distance at which the cross-entropy would reach
            log(2), were it linear; 0 where it is beyond that already.
        distance: float32 `[B]`, the same under the curvature, never more. As long as
            the cross-entropy is below log(2), no other class can be as likely.
    """

    classes: tf.Tensor
    margin: tf.Tensor
    margin_distance: tf.Tensor
    gradient_norm: tf.Tensor
    hessian_norm: tf.Tensor
    curvature: tf.Tensor
    distance_linear: tf.Tensor
    distance: tf.Tensor

    def select(self, mask: Any) -> Robustness:
        """The same of some of the images.

        Args:
            mask: bool `[B]`. It may hold nowhere.

        Raises:
            ValueError: If it is no bool `[B]`.
        """
        return Robustness(*selected(self, mask))

    def means(self) -> dict[str, Estimate]:
        """Mean and standard error of each quantity but the classes, by name.

        Of distances some of which are infinite the mean is too, its error NaN.
        """
        values = self._asdict()
        del values["classes"]
        with np.errstate(invalid="ignore"):  # infinity less infinity
            return means(values)


def robustness(
    model: Any,
    images: Any,
    iterations: int | tf.Tensor = 10,
    *,
    bounds: Any = None,
) -> Robustness:
    """Margin, curvature and distance to another answer, image by image.

    Estimates to the second order at the image itself, no certificates: a network may
    bend more further away. Nothing depends on the batch around an image.

    Args:
        model: As for `curvature`.
        images: As for `curvature`, B at least 1.
        iterations: As for `hessian_norm`.
        bounds: The range of the pixels, as for an attack's call.

    Returns:
        `Robustness` of tensors `[B]`. No gradient flows through them.

    Raises:
        ValueError: As for `curvature`.

    Reference: Srinivas et al. 2022 (LCNN), section 3.1 and section 4.2, Proposition 2.

    Example:
        >>> model = lambda x: tf.concat([x, -x], axis=-1)
        >>> result = robustness(model, tf.constant([[0.5]]))
        >>> int(result.classes[0]), float(result.margin[0])
        (0, 1.0)
        >>> bool(result.distance[0] <= result.distance_linear[0])
        True
    """
    pixels = pixels_in(images, model, bounds, any_rank=True)
    with layers_named(model):
        classes, margin, slope, loss = _margin(model, pixels)
    gradient, hessian, bend = curvature(
        model, pixels.given, classes, iterations, bounds=pixels.bounds
    )
    linear = _over(tf.nn.relu(math.log(2.0) - loss), gradient)
    return Robustness(
        classes,
        margin,
        _over(margin, slope),
        gradient,
        hessian,
        bend,
        linear,
        _curved(linear, bend),
    )


def _margin(model: Any, pixels: Pixels) -> tuple[tf.Tensor, ...]:
    """The same as `_margin_of`, eagerly by a graph that is traced once a model."""
    images, bounds = tf.stop_gradient(pixels.images), pixels.bounds
    if not tf.executing_eagerly():
        return _margin_of(model, bounds, images)
    shape = images.shape[1:]

    def trace(reference: Any) -> Any:
        def margin(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return _margin_of(reference(), bounds, images)

        spec = tf.TensorSpec([None, *shape], tf.float32)
        return tf.function(margin, autograph=False).get_concrete_function(spec)

    graph = _GRAPHS.get(model, (bounds, tuple(shape)), trace)
    return tuple(graph(images))


def _margin_of(model: Any, bounds: Bounds, images: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Best class, margin, norm of its gradient, and cross-entropy of that class."""
    with in_single_precision(model):
        logits, pull = linearize(as_classifier(model, bounds), images)
    best = tf.math.top_k(logits, 2)
    margin = best.values[:, 0] - best.values[:, 1]
    ends = tf.one_hot(best.indices, tf.shape(logits)[1])
    gradient = pull(ends[:, 0] - ends[:, 1])
    loss = tf.reduce_logsumexp(logits, axis=-1) - best.values[:, 0]
    values = best.indices[:, 0], margin, norms(gradient), loss
    return tuple(map(tf.stop_gradient, values))


def _over(gap: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """`gap / slope`; 0 for no gap, infinite for one without a slope."""
    quotient = gap / tf.maximum(slope, EPSILON)
    unreachable = tf.where(gap > 0.0, math.inf, 0.0)
    return tf.where(slope > 0.0, quotient, unreachable)


def _curved(linear: tf.Tensor, bend: tf.Tensor) -> tf.Tensor:
    """Proposition 2: `(sqrt(1 + 2 C r) - 1) / C` for `r = gap / slope`, stably."""
    finite = tf.where(tf.math.is_finite(linear), linear, 0.0)
    product = tf.where(finite > 0.0, bend * finite, 0.0)
    curved = 2.0 * finite / (1.0 + tf.sqrt(1.0 + 2.0 * product))
    return tf.where(tf.math.is_finite(linear), curved, math.inf)
