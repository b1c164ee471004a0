"""Gradient norm, Hessian norm and normalised curvature of each example's loss."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfrobust.core.classifier import Loss
from tfrobust.core.estimates import Estimate, means
from tfrobust.core.gradients import gradient_and_hessian, input_gradient
from tfrobust.core.selection import selected
from tfrobust.core.vectors import norms, spread, unit
from tfrobust.geometry.loss import evaluate
from tfrobust.settings import require_positive, require_seed, require_steps

EPSILON = 1e-37
"""Added to the gradient norm in a curvature: ten times the smallest normal float32, so
that it alters no quotient of norms that float32 can represent."""

# A tolerance that no estimate above zero meets.
_NEVER = -1.0


class Curvature(NamedTuple):
    """The geometry of the loss at each image of a batch.

    Attributes:
        gradient_norm: float32 `[B]`, Euclidean norm of the input-gradient.
        hessian_norm: float32 `[B]`, spectral norm of the input-Hessian.
        curvature: float32 `[B]`, `hessian_norm / (gradient_norm + epsilon)`.
    """

    gradient_norm: tf.Tensor
    hessian_norm: tf.Tensor
    curvature: tf.Tensor

    def select(self, mask: Any) -> Curvature:
        """The same of some of the images.

        Args:
            mask: bool `[B]`. It may hold nowhere.

        Raises:
            ValueError: If it is no bool `[B]`.
        """
        return Curvature(*selected(self, mask))

    def means(self) -> dict[str, Estimate]:
        """Mean and standard error of each quantity, by name."""
        return means(self._asdict())


def gradient_norm(
    model: Any, images: Any, labels: Any, *, bounds: Any = None
) -> tf.Tensor:
    """Euclidean norm of the gradient of each example's cross-entropy in its image.

    The gradient is per unit of images in [0, 1], whatever the bounds, so that those of
    networks with other bounds compare.

    Args:
        model: What attacks take: a Keras model (called with `training=False`), a loaded
            SavedModel, or a callable from float32 images `[B, ...]` to logits `[B, K]`.
            It may end in a softmax, or have one output for two classes.
        images: `[B, ...]` within the bounds, floating, or integers where the bounds are
            those of bytes. Rows of numbers, `[B, D]`, may leave [0, 1].
        labels: The classes whose cross-entropy is differentiated, integer `[B]` or
            `[B, 1]`, or one-hot `[B, K]`.
        bounds: The range of the pixels, as for an attack's call.

    Returns:
        float32 `[B]`. No gradient flows through it.

    Raises:
        ValueError: If a shape or dtype is wrong or the model has no gradient. Eagerly
            also if pixels leave the bounds, or labels are no classes of the model.

    Reference: Srinivas et al. 2022 (LCNN), section 5.1, Table 1.

    Example:
        >>> import tensorflow as tf
        >>> from tfrobust import geometry
        >>> model = lambda x: tf.concat([x, -x], axis=-1)
        >>> float(geometry.gradient_norm(model, tf.zeros([1, 1]), [0])[0])
        1.0
    """
    return evaluate(model, _gradient_norm, images, labels, bounds=bounds)


def hessian_norm(
    model: Any,
    images: Any,
    labels: Any,
    iterations: int | tf.Tensor = 10,
    tolerance: float | None = None,
    seed: int = 0,
    *,
    bounds: Any = None,
) -> tf.Tensor:
    """Spectral norm of the Hessian of each example's cross-entropy in its image.

    Power iteration on Hessian-vector products, for all examples at once. The answer is
    `norm(H v)` for the last unit vector v: never above the true norm, and never
    decreasing with `iterations`. It starts midway between the gradient, which for the
    cross-entropy is often near the leading eigenvector, and a random direction that
    depends on `seed` alone; so it does not depend on the batch around an image.

    Costs one forward pass, one gradient, and per iteration one pass back through both.

    Args:
        model: As for `gradient_norm`. It has to be twice differentiable by
            backpropagation.
        images: As for `gradient_norm`.
        labels: As for `gradient_norm`.
        iterations: Hessian-vector products, at least 1. Or an int32 tensor, a number
            or one for each image `[B]`, which takes no account of the others'.
        tolerance: Stop once every estimate changes by at most this share of itself in
            one iteration; an image that has got there keeps its estimate. `None` runs
            all iterations.
        seed: Of the random direction, in [0, 2**31).
        bounds: As for `gradient_norm`.

    Returns:
        float32 `[B]`, per unit of images in [0, 1] squared; 0 where the Hessian is
        zero. No gradient flows through it.

    Raises:
        ValueError: As for `gradient_norm`, or if a setting is out of range.

    Reference: Srinivas et al. 2022 (LCNN), section 5.1, Table 1.

    Example:
        >>> import tensorflow as tf
        >>> from tfrobust import geometry
        >>> model = lambda x: tf.concat([x, -x], axis=-1)
        >>> float(geometry.hessian_norm(model, tf.zeros([1, 1]), [0])[0])
        1.0
    """
    settings = _settings(iterations, tolerance, seed)
    return evaluate(model, _hessian_norm, images, labels, *settings, bounds=bounds)


def curvature(
    model: Any,
    images: Any,
    labels: Any,
    iterations: int | tf.Tensor = 10,
    tolerance: float | None = None,
    seed: int = 0,
    epsilon: float = EPSILON,
    *,
    bounds: Any = None,
) -> Curvature:
    """Normalised curvature of each example's cross-entropy, and what it is made of.

    `C = norm(H) / (norm(g) + epsilon)`: by how much of itself the gradient can change
    per unit of distance, which no scaling of the loss alters. It is well defined for
    confident answers too: as the probability of the label goes to 1, g and H vanish
    together and C has a limit. Derivatives here keep their relative accuracy until
    float32 underflows, at a margin of about 87, so `epsilon` only has to keep a zero
    gradient from being divided by; a larger one makes confident examples look flat.
    Where the gradient vanishes and the Hessian does not, at a minimum of the loss at
    finite distance, the curvature truly is infinite, and the answer huge or infinite.

    Args:
        model: As for `hessian_norm`.
        images: As for `hessian_norm`.
        labels: As for `hessian_norm`.
        iterations: As for `hessian_norm`.
        tolerance: As for `hessian_norm`.
        seed: As for `hessian_norm`.
        epsilon: Added to the gradient norm, positive.
        bounds: As for `gradient_norm`.

    Returns:
        `Curvature` of three float32 `[B]`, in units of images in [0, 1].

    Raises:
        ValueError: As for `hessian_norm`.

    Reference: Srinivas et al. 2022 (LCNN), section 3.1 (LCNN-E0).

    Example:
        >>> import tensorflow as tf
        >>> from tfrobust import geometry
        >>> model = lambda x: tf.concat([x, -x], axis=-1)
        >>> result = geometry.curvature(model, tf.zeros([1, 1]), [0])
        >>> [float(value[0]) for value in result]
        [1.0, 1.0, 1.0]
    """
    require_positive("epsilon", epsilon)
    settings = _settings(iterations, tolerance, seed)
    gradients, hessians = evaluate(
        model, _both_norms, images, labels, *settings, bounds=bounds
    )
    return Curvature(gradients, hessians, hessians / (gradients + float(epsilon)))


def _settings(
    iterations: int | tf.Tensor, tolerance: float | None, seed: int
) -> list[tf.Tensor]:
    """Tensors rather than numbers, so that no setting needs a graph of its own."""
    if tolerance is not None:
        require_positive("tolerance", tolerance)
    if not tf.is_tensor(iterations):
        require_steps("iterations", iterations)
    require_seed(seed)
    return [
        tf.cast(iterations, tf.int32),
        tf.constant(_NEVER if tolerance is None else tolerance, tf.float32),
        tf.constant([seed, 0], tf.int64),
    ]


def _gradient_norm(loss: Loss, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return norms(input_gradient(lambda x: loss(x, labels), images))


def _hessian_norm(
    loss: Loss, images: tf.Tensor, labels: tf.Tensor, *settings: tf.Tensor
) -> tf.Tensor:
    return _both_norms(loss, images, labels, *settings)[1]


def _both_norms(
    loss: Loss,
    images: tf.Tensor,
    labels: tf.Tensor,
    iterations: tf.Tensor,
    tolerance: tf.Tensor,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Norm of the gradient and of the Hessian, both `[B]`."""
    gradient, product = gradient_and_hessian(lambda x: loss(x, labels), images)
    gradient_norms = norms(gradient)
    vectors = _start(gradient, seed)

    def goes_on(_: Any, __: Any, ___: Any, moving: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(moving)

    def body(
        step: tf.Tensor, vectors: tf.Tensor, last: tf.Tensor, moving: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        images_of = product(vectors)
        length = tf.where(moving, norms(images_of), last)
        # A vector that the Hessian maps to zero stays as it is.
        onward = spread(moving & (length > 0), vectors)
        vectors = tf.where(onward, unit(images_of), vectors)
        moving &= tf.abs(length - last) > tolerance * length
        return step + 1, vectors, length, moving & (step + 1 < iterations)

    moving = tf.broadcast_to(iterations > 0, tf.shape(gradient_norms))
    state = (tf.constant(0), vectors, tf.zeros_like(gradient_norms), moving)
    shapes = tf.nest.map_structure(lambda tensor: tensor.shape, state)
    result = tf.while_loop(goes_on, body, state, shapes, parallel_iterations=1)
    return tf.stop_gradient(gradient_norms), tf.stop_gradient(result[2])


def _start(gradient: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A unit vector for each image, from its gradient and the seed alone."""
    shape = tf.concat([[1], tf.shape(gradient)[1:]], axis=0)
    random = tf.random.stateless_normal(shape, seed, alg="philox")
    return unit(unit(gradient) + unit(random))
