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
