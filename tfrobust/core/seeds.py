"""Seeds that an image brings along, so that a draw does not depend on its batch."""

from __future__ import annotations

import tensorflow as tf


def drawn_shape(images: tf.Tensor) -> tf.Tensor:
    """The shape of one image to draw, int32 `[3]`: known numbers where possible.

    Draws of an unknown shape fail on an empty batch.

    Args:
        images: `[B,H,W,C]`.

    Example:
        >>> drawn_shape(tf.zeros([0, 4, 4, 3])).numpy().tolist()
        [4, 4, 3]
    """
    if images.shape[1:].is_fully_defined():
        return tf.constant(list(images.shape[1:]))
    return tf.shape(images)[1:]


def seeds_of(images: tf.Tensor, seed: int, run: tf.Tensor | int = 0) -> tf.Tensor:
    """A seed for each image from its own pixels, int64 `[B, 2]`.

    Two images that differ in a bit almost surely get different seeds, and an image gets
    the same seed in any batch. Integers keep the sum exact in any order; no product
    or sum below leaves the range of int64.

    Args:
        images: float32 `[B,...]`.
        seed: In [0, 2**31).
        run: Number of the draw, in [0, 2**31).
    """
    mask = 2**31 - 1
    bits = tf.bitcast(tf.reshape(images, [tf.shape(images)[0], -1]), tf.int32)
    bits = tf.cast(bits, tf.int64)
    position = tf.range(1, tf.shape(bits, tf.int64)[1] + 1, dtype=tf.int64)
    weight = tf.bitwise.bitwise_and(position * 2654435761, mask)
    # Odd, so that no bit of a pixel is lost in the product.
    product = bits * tf.bitwise.bitwise_or(weight, 1)
    # The pixels 0, 1/2 and 1 have zeros for low bits: fold the high ones in.
    folded = tf.bitwise.bitwise_xor(product, tf.bitwise.right_shift(product, 31))
    content = tf.reduce_sum(tf.bitwise.bitwise_and(folded, mask), axis=1)
    number = seed * 2**32 + tf.cast(run, tf.int64)
    return tf.stack([content, tf.fill(tf.shape(content), number)], axis=1)
