"""Derivatives in the image: of any value, of single logits, and the second ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfrobust.core.differentiable import (
    missing_gradient,
    missing_path,
    require_gradient,
    require_second_derivative,
    require_second_derivative_of,
)
from tfrobust.core.precision import HEADROOM
from tfrobust.core.second_derivatives import twice_differentiable
from tfrobust.core.vectors import spread
from tfrobust.layers import find_layers

# float16 stops at 6e-8; input-gradients of a trained network are smaller than that.
_FLOAT16_SCALE = 1024.0

Values = Callable[[tf.Tensor], tf.Tensor]
"""Maps images `[B,...]` to a number for each of them, `[B]`."""

Pullback = Callable[[tf.Tensor], tf.Tensor]
"""Maps cotangents of the logits `[B,K]` to gradients in the images `[B,H,W,C]`."""


def values_and_gradient(
    values: Values, images: tf.Tensor, scale: float = 1.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """A value of each image, and its gradient in that image.

    Args:
        values: What is differentiated.
        images: Floating `[B,...]`.
        scale: What values are multiplied by before and gradients divided by after; see
            `gradient_scale`.

    Returns:
        Values `[B]` and gradients `[B,...]`, shaped as the images.

    Raises:
        ValueError: If the values have no gradient path to the images, or in a graph one
            that lacks a term.

    Example:
        >>> result = values_and_gradient(
        ...     lambda x: tf.reduce_sum(x**2, axis=1), tf.constant([[1.0, 2.0]]))
        >>> [tensor.numpy().tolist() for tensor in result]
        [[5.0], [[2.0, 4.0]]]
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        with twice_differentiable():
            result = values(images)
        total = tf.reduce_sum(result) * scale
    require_gradient(images, total)
    gradient = tape.gradient(total, images)
    if gradient is None:
        raise missing_gradient(values, images)
    return result, gradient / scale


def input_gradient(values: Values, images: tf.Tensor, scale: float = 1.0) -> tf.Tensor:
    """The gradient of `values_and_gradient` alone, `[B,...]`.

    Example:
        >>> input_gradient(lambda x: 3 * x[:, 0], tf.ones([1, 2])).numpy().tolist()
        [[3.0, 0.0]]
    """
    return values_and_gradient(values, images, scale)[1]


def has_gradient(function: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> bool:
    """Whether what a function makes of images has a gradient path to them.

    Example:
        >>> has_gradient(tf.round, tf.ones([1, 2])), has_gradient(tf.abs, tf.ones([1]))
        (False, True)
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        result = function(images)
    return tape.gradient(result, images) is not None


def gradient_and_hessian(
    values: Values, images: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """The gradient, and the Hessian as a map of vectors, one for each example.

    Reverse over reverse. The forward pass and the gradient are recorded once; the map
    replays only the pass back through them, so that in a graph the products of a power
    iteration share everything that does not depend on the vector.

    A product is zero where the values are linear, and never because TensorFlow has no
    second derivative of an operation: that is an error.

    Args:
        values: What is differentiated, such as a loss.
        images: float32 `[B, ...]`.

    Returns:
        The gradient, shaped as `images`, and a function from vectors of that shape to
        Hessian-vector products of that shape.

    Raises:
        ValueError: If the values have no gradient path to the images, or a second
            derivative on the way is one that TensorFlow does not have.

    Example:
        >>> _, product = gradient_and_hessian(
        ...     lambda x: x[:, 0] * x[:, 1], tf.constant([[5.0, 7.0]]))
        >>> product(tf.constant([[1.0, 2.0]])).numpy().tolist()
        [[2.0, 1.0]]
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(images)
        gradient = input_gradient(values, images)
    if tf.executing_eagerly():
        require_second_derivative_of(lambda x: input_gradient(values, x), images)
    else:
        require_second_derivative(images, gradient)

    def product(vectors: tf.Tensor) -> tf.Tensor:
        result = tape.gradient(gradient, images, output_gradients=vectors)
        return tf.zeros_like(vectors) if result is None else result

    return gradient, product


def gradient_scale(network: keras.Model) -> float:
    """What to multiply a loss by before its input-gradient is taken, and divide after.

    Args:
        network: Any Keras model.

    Returns:
        A power of 2 if a layer computes in float16, else 1.

    Example:
        >>> gradient_scale(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]))
        1.0
    """
    layers = find_layers(network, keras.layers.Layer)
    half = any(layer.compute_dtype == "float16" for layer in layers)
    return _FLOAT16_SCALE if half else 1.0


def linearize(model: Any, images: tf.Tensor) -> tuple[tf.Tensor, Pullback]:
    """The logits, and reverse mode from them to the images.

    Args:
        model: Maps images to logits `[B,K]`; a Keras model is called with
            `training=False`, so that no image depends on its batch.
        images: float32 `[B,H,W,C]`.

    Returns:
        Logits float32 `[B,K]`, and the map, which may be called several times and what
        it returns differentiated.

    Example:
        >>> logits, back = linearize(lambda x: 3 * x, tf.ones([1, 2]))
        >>> back(tf.constant([[0.0, 1.0]])).numpy().tolist()
        [[0.0, 3.0]]
    """
    inference = {"training": False} if isinstance(model, keras.Model) else {}
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(images)
        with twice_differentiable():
            logits = tf.cast(model(images, **inference), tf.float32)
    require_gradient(images, logits)

    def pull(upstream: tf.Tensor) -> tf.Tensor:
        result = tape.gradient(logits, images, HEADROOM * upstream)
        if result is None:
            raise missing_gradient(lambda x: model(x, **inference), images)
        return result / HEADROOM

    return logits, pull


def pullback(
    tape: tf.GradientTape, logits: tf.Tensor, images: tf.Tensor, scale: float = 1.0
) -> Pullback:
    """Reverse mode from the logits to the images, as a map of cotangents.

    Args:
        tape: Persistent, has recorded the way from images to logits.
        logits: float32 `[B,K]`.
        images: float32 `[B,H,W,C]`.
        scale: What cotangents are multiplied by on their way and gradients divided by
            at its end, for networks in float16.

    Returns:
        The map; it raises `ValueError` if no gradient comes through.

    Example:
        >>> images = tf.ones([1, 2])
        >>> with tf.GradientTape(persistent=True) as tape:
        ...     tape.watch(images)
        ...     logits = 3 * images
        >>> pullback(tape, logits, images)(tf.ones([1, 2])).numpy().tolist()
        [[3.0, 3.0]]
    """

    def pull(upstream: tf.Tensor) -> tf.Tensor:
        result = tape.gradient(logits, images, output_gradients=scale * upstream)
        if result is None:
            raise missing_path(images, logits)
        return result / scale

    return pull


def class_gradients(
    pull: Pullback,
    chosen: tf.Tensor,
    classes: int,
    *,
    signs: tf.Tensor | None = None,
    vectorize: bool = True,
) -> tf.Tensor:
    """Gradients of some logits of each image in that image.

    Args:
        pull: From `linearize` or `pullback`.
        chosen: int32 `[B,k]`, the classes to differentiate of each image; k static.
        classes: K.
        signs: float32 `[B,k]` of -1 and 1, by which cotangents are multiplied and then
            the gradients again. Where an image's logits depend on other images, as
            with batch norm in training, those terms then have either sign; without
            such there is no difference.
        vectorize: Whether the k passes back are one, of k times the batch: faster, for
            k times the memory.

    Returns:
        float32 `[B,k,H,W,C]`.

    Example:
        >>> _, pull = linearize(lambda x: 3 * x, tf.ones([1, 2]))
        >>> class_gradients(pull, tf.constant([[1]]), classes=2).numpy().tolist()
        [[[0.0, 3.0]]]
    """
    cotangents = tf.one_hot(chosen, classes)
    if signs is not None:
        cotangents *= signs[:, :, None]
    columns = tf.unstack(cotangents, axis=1)
    if vectorize and len(columns) > 1:
        rows = tf.vectorized_map(pull, tf.stack(columns))
        gradients = tf.transpose(rows, [1, 0, *range(2, rows.shape.rank)])
    else:
        gradients = tf.stack([pull(column) for column in columns], axis=1)
    if signs is None:
        return gradients
    # An einsum of these shapes takes as long as a pass through a small network.
    return spread(signs, gradients) * gradients
