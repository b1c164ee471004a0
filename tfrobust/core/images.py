"""Checks of images, labels and targets.

Dtype and shape are checked always, values eagerly alone: in a graph there are none.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def check_images(
    value: Any,
    name: str = "images",
    *,
    pixels: bool = False,
    any_rank: bool = False,
    sized: bool = False,
) -> tf.Tensor:
    """Images as float32; raises `ValueError` on another dtype or shape.

    Args:
        value: What was given for images.
        name: Of the argument.
        pixels: Whether to say of integers that pixels in [0, 1] are meant; the range is
            for `check_pixels`.
        any_rank: Whether `[B, ...]` of rank 2 or more will do, not only `[B, H, W, C]`.
        sized: Whether H, W and C must be known, none of them 0.

    Example:
        >>> check_images([[[[0.5]]]]).shape
        TensorShape([1, 1, 1, 1])
    """
    images = tf.convert_to_tensor(value)
    if not images.dtype.is_floating:
        kind = "floating, with pixels in [0, 1]" if pixels else "floating"
        raise ValueError(
            f"`{name}` must be {kind}. Received: dtype={images.dtype.name}"
        )
    rank, shape = images.shape.rank, "[B, H, W, C]"
    fits = rank == 4
    if any_rank:
        fits, shape = rank is not None and rank >= 2, "[B, ...] of rank 2 or more"
    if sized:
        fits = fits and None not in images.shape[1:]
        shape += " with H, W and C known"
    if not fits:
        raise ValueError(
            f"`{name}` must have shape {shape}. Received: shape={images.shape}"
        )
    if sized and 0 in images.shape[1:]:
        raise ValueError(
            f"`{name}` must have at least one pixel. Received: shape={images.shape}"
        )
    return tf.cast(images, tf.float32)


def check_finite(name: str, images: tf.Tensor) -> None:
    """Raises `ValueError` where eager values are not finite."""
    if tf.executing_eagerly() and not tf.reduce_all(tf.math.is_finite(images)):
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinity")


def check_pixels(name: str, images: tf.Tensor) -> None:
    """Raises `ValueError` where eager images leave [0, 1], or are NaN."""
    if not tf.executing_eagerly():
        return
    if not tf.reduce_all((images >= 0.0) & (images <= 1.0)):
        raise ValueError(
            f"`{name}` must lie in [0, 1]. Received: values from "
            f"{tf.reduce_min(images):g} to {tf.reduce_max(images):g}"
        )


def check_batch(name: str, value: Any) -> tf.Tensor:
    """`value` as float32 `[B,H,W,C]`, eagerly of finite values; `ValueError` if not."""
    images = check_images(value, name)
    check_finite(name, images)
    return images


def check_classes(name: str, classes: Any, images: tf.Tensor) -> tf.Tensor:
    """Labels or targets as int32 `[B]`; raises `ValueError` if they are not."""
    classes = tf.convert_to_tensor(classes)
    if not classes.dtype.is_integer:
        raise ValueError(
            f"`{name}` must be integers. Received: dtype={classes.dtype.name}"
        )
    if not classes.shape.is_compatible_with(images.shape[:1]):
        count = images.shape[0]
        each = "image" if count is None else f"of the {count} images"
        raise ValueError(
            f"`{name}` must have shape [B], one class for each {each}. "
            f"Received: shape={classes.shape}"
        )
    return tf.cast(classes, tf.int32)


def check_range(name: str, classes: tf.Tensor, count: int) -> None:
    """Raises `ValueError` where eager classes leave [0, count)."""
    if not tf.executing_eagerly():
        return
    if tf.reduce_any((classes < 0) | (classes >= count)):
        raise ValueError(
            f"`{name}` must lie in [0, {count}). Received: values from "
            f"{tf.reduce_min(classes)} to {tf.reduce_max(classes)}"
        )
