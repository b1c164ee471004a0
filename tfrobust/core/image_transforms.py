"""The derivative of projective transforms of images, such as a random rotation.

TensorFlow's own turns the cotangents back by the inverse transform, which is not the
derivative of an interpolation: it can be off by as much as it is long. Here the
interpolation is written in operations that have theirs.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrobust.core.second_derivatives import provides


@provides("ImageProjectiveTransformV3", anew=True)
def _transform(op: Any, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    images, transforms = op.inputs[:2]
    settings = [op.get_attr(name).decode() for name in ("fill_mode", "interpolation")]
    size = tf.shape(upstream)[1:3]

    def transformed(x: tf.Tensor) -> tf.Tensor:
        return interpolate(x, transforms, size, *settings)

    with tf.GradientTape() as tape:
        tape.watch(images)
        result = transformed(images)
    return [tape.gradient(result, images, upstream), None, None, None]


def interpolate(
    images: tf.Tensor,
    transforms: tf.Tensor,
    size: tf.Tensor,
    fill_mode: str,
    interpolation: str,
) -> tf.Tensor:
    """What `ImageProjectiveTransformV3` makes of images, where 0 fills the outside.

    Args:
        images: Floating `[B,H,W,C]`.
        transforms: float32 `[B,8]` or `[1,8]`: `(x, y)` of the result is taken from
            `((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k)`, `k = c0 x + c1 y + 1`.
        size: int32 `[2]`, height and width of the result.
        fill_mode: `"CONSTANT"`, `"NEAREST"`, `"REFLECT"` or `"WRAP"`.
        interpolation: `"BILINEAR"` or `"NEAREST"`.

    Returns:
        As the images, of the new size.
    """
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    transforms = tf.broadcast_to(transforms, [batch, 8])
    a0, a1, a2, b0, b1, b2, c0, c1 = (
        part[:, None, None] for part in tf.unstack(transforms, axis=1)
    )
    y, x = tf.meshgrid(*(tf.range(side) for side in tf.unstack(size)), indexing="ij")
    x, y = tf.cast(x, tf.float32), tf.cast(y, tf.float32)
    k = c0 * x + c1 * y + 1.0
    whole = k != 0.0
    k = tf.where(whole, k, 1.0)
    column = _inside((a0 * x + a1 * y + a2) / k, width, fill_mode)
    row = _inside((b0 * x + b1 * y + b2) / k, height, fill_mode)

    def at(rows: tf.Tensor, columns: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        last, end = tf.cast(height - 1, tf.float32), tf.cast(width - 1, tf.float32)
        known = whole & (rows >= 0) & (rows <= last) & (columns >= 0) & (columns <= end)
        # No number of a pixel overflows, however far a transform reaches.
        places = [tf.clip_by_value(rows, 0, last), tf.clip_by_value(columns, 0, end)]
        index = tf.stack([tf.cast(place, tf.int32) for place in places], axis=-1)
        pixels = tf.gather_nd(images, index, batch_dims=1)
        weights = tf.where(known, weights, tf.zeros_like(weights))
        return tf.cast(weights, images.dtype)[..., None] * pixels

    if interpolation == "NEAREST":
        # Halves go away from zero, as in C.
        rows, columns = (tf.sign(v) * tf.floor(tf.abs(v) + 0.5) for v in (row, column))
        return at(rows, columns, tf.ones_like(rows))
    top, left = tf.floor(row), tf.floor(column)
    down, right = row - top, column - left
    corners = (
        at(top, left, (1.0 - down) * (1.0 - right)),
        at(top, left + 1.0, (1.0 - down) * right),
        at(top + 1.0, left, down * (1.0 - right)),
        at(top + 1.0, left + 1.0, down * right),
    )
    return tf.add_n(corners)


def _inside(place: tf.Tensor, side: tf.Tensor, fill_mode: str) -> tf.Tensor:
    """Where along a side of the image an outer place is taken from."""
    size = tf.cast(side, tf.float32)
    last = size - 1.0
    if fill_mode == "REFLECT":  # dcba|abcd|dcba
        period = 2.0 * size
        low = place + period * _truncated(-place / period)
        low = tf.where(low < -size, low + period, -low - 1.0)
        high = place - period * _truncated(place / period)
        high = tf.where(high >= size, period - high - 1.0, high)
        moved = tf.where(place < 0.0, low, tf.where(place > last, high, place))
        place = tf.where(side > 1, moved, tf.zeros_like(place))
    elif fill_mode == "WRAP":  # abcd|abcd|abcd, and further out as TensorFlow has it
        step = tf.maximum(last, 1.0)
        low = place + size * (_truncated(-place / step) + 1.0)
        high = place - size * _truncated(place / step)
        moved = tf.where(place < 0.0, low, tf.where(place > last, high, place))
        place = tf.where(side > 1, moved, tf.zeros_like(place))
    elif fill_mode == "CONSTANT":
        return place
    return tf.clip_by_value(place, 0.0, last)


def _truncated(x: tf.Tensor) -> tf.Tensor:
    return tf.sign(x) * tf.floor(tf.abs(x))
