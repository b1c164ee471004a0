"""Argument checks that the analyses share."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def check_batch(name: str, value: Any) -> tf.Tensor:
    """`value` as float32 `[B,H,W,C]`, or a one-sentence `ValueError`.

    Eagerly, values that are not finite are refused too.
    """
    tensor = tf.convert_to_tensor(value)
    if not tensor.dtype.is_floating:
        raise ValueError(
            f"`{name}` must be floating. Received: dtype={tensor.dtype.name}"
        )
    if tensor.shape.rank != 4:
        raise ValueError(
            f"`{name}` must have shape [B, H, W, C]. Received: shape={tensor.shape}"
        )
    tensor = tf.cast(tensor, tf.float32)
    if tf.executing_eagerly() and not tf.reduce_all(tf.math.is_finite(tensor)):
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinity")
    return tensor


def check_pixels(name: str, images: tf.Tensor) -> None:
    """Raises `ValueError` where eager images leave [0, 1]."""
    if not tf.executing_eagerly():
        return
    if not tf.reduce_all((images >= 0.0) & (images <= 1.0)):
        raise ValueError(
            f"`{name}` must lie in [0, 1]. Received: values from "
            f"{tf.reduce_min(images):g} to {tf.reduce_max(images):g}"
        )
