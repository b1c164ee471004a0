"""Gradients of single logits in the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

Pullback = Callable[[tf.Tensor], tf.Tensor]
"""Maps cotangents of the logits `[B,K]` to gradients in the images `[B,H,W,C]`."""


def linearise(model: Any, images: tf.Tensor) -> tuple[tf.Tensor, Pullback]:
    """The logits, and reverse mode from them to the images.

    Args:
        model: Maps images to logits `[B,K]`; a Keras model is called with
            `training=False`, so that no image depends on its batch.
        images: float32 `[B,H,W,C]`.

    Returns:
        Logits float32 `[B,K]`, and the map, which may be called several times and what
        it returns differentiated.

    Example:
        >>> logits, back = linearise(lambda x: 3 * x, tf.ones([1, 2]))
        >>> back(tf.constant([[0.0, 1.0]])).numpy().tolist()
        [[0.0, 3.0]]
    """
    inference = {"training": False} if isinstance(model, keras.Model) else {}
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = tf.cast(model(images, **inference), tf.float32)
    return logits, pullback(tape, logits, images)


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
        found = tape.gradient(logits, images, output_gradients=scale * upstream)
        if found is None:
            raise ValueError(
                "`model` must be differentiable in its images. Received: a model whose "
                "logits have no gradient path to them"
            )
        return found / scale

    return pull


def class_gradients(
    pull: Pullback,
    chosen: tf.Tensor,
    classes: int,
    *,
    signs: tf.Tensor | None = None,
    vectorise: bool = True,
) -> tf.Tensor:
    """Gradients of some logits of each image in that image.

    Args:
        pull: From `linearise` or `pullback`.
        chosen: int32 `[B,k]`, the classes wanted of each image; k static.
        classes: K.
        signs: float32 `[B,k]` of -1 and 1, by which cotangents are multiplied and then
            the gradients again. Where an image's logits depend on other images, as
            with batch norm in training, those terms then have either sign; without
            such there is no difference.
        vectorise: Whether the k passes back are one, of k times the batch: faster, for
            k times the memory.

    Returns:
        float32 `[B,k,H,W,C]`.

    Example:
        >>> _, pull = linearise(lambda x: 3 * x, tf.ones([1, 2]))
        >>> class_gradients(pull, tf.constant([[1]]), classes=2).numpy().tolist()
        [[[0.0, 3.0]]]
    """
    cotangents = tf.one_hot(chosen, classes)
    if signs is not None:
        cotangents *= signs[:, :, None]
    columns = tf.unstack(cotangents, axis=1)
    if vectorise and len(columns) > 1:
        found = tf.vectorized_map(pull, tf.stack(columns))
        found = tf.transpose(found, [1, 0, *range(2, found.shape.rank)])
    else:
        found = tf.stack([pull(column) for column in columns], axis=1)
    return found if signs is None else tf.einsum("bk,bk...->bk...", signs, found)
