"""First and second derivatives of a loss in the images, and norms of the result."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfrobust.core.classifier import Loss


def gradient_of(loss: Loss, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Gradient of each example's loss in its own image, shaped as `images`.

    Raises:
        ValueError: If the loss has no gradient path to the images.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        total = tf.reduce_sum(loss(images, labels))
    gradient = tape.gradient(total, images)
    if gradient is None:
        raise ValueError(
            "`model` must be differentiable in its images. Received: a model whose "
            "logits have no gradient path to them"
        )
    return gradient


def linearise(
    loss: Loss, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """The gradient, and the Hessian as a map of vectors, one for each example.

    Reverse over reverse. The forward pass and the gradient are recorded once; the map
    replays only the pass back through them, so that in a graph the products of a power
    iteration share everything that does not depend on the vector.

    Args:
        loss: Maps images and labels to each example's loss.
        images: float32 `[B, ...]`.
        labels: int32 `[B]`.

    Returns:
        The gradient, shaped as `images`, and a function from vectors of that shape to
        Hessian-vector products of that shape.

    Raises:
        ValueError: If the loss has no gradient path to the images.
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(images)
        gradient = gradient_of(loss, images, labels)

    def product(vectors: tf.Tensor) -> tf.Tensor:
        found = tape.gradient(gradient, images, output_gradients=vectors)
        return tf.zeros_like(vectors) if found is None else found

    return gradient, product


def norms(vectors: tf.Tensor) -> tf.Tensor:
    """Euclidean norm of each example, `[B, ...]` to `[B]`.

    Does not under- or overflow: the gradient of a confident model may be 1e-30, and
    its square is no float32.

    Example:
        >>> float(norms(tf.constant([[3e-30, 4e-30]]))[0]) > 4.9e-30
        True
    """
    flat = tf.reshape(vectors, [tf.shape(vectors)[0], -1])
    largest = tf.reduce_max(tf.abs(flat), axis=1)
    scaled = tf.math.divide_no_nan(flat, largest[:, None])
    return largest * tf.sqrt(tf.reduce_sum(tf.square(scaled), axis=1))


def spread(values: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """`[B]` to `[B, 1, ...]`, to be broadcast against `images`."""
    return tf.reshape(values, [-1] + [1] * (images.shape.rank - 1))


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """Each example over its Euclidean norm; zero stays zero.

    Divided in two steps: the norm alone may be too small to have a float32 inverse.
    """
    flat = tf.reshape(vectors, [tf.shape(vectors)[0], -1])
    largest = spread(tf.reduce_max(tf.abs(flat), axis=1), vectors)
    scaled = tf.math.divide_no_nan(vectors, largest)
    return tf.math.divide_no_nan(scaled, spread(norms(scaled), vectors))
