"""Random crops and flips, a whole batch at a time.

Every draw is stateless: the same images and seed give the same result on any machine,
with any number of threads.
"""

from __future__ import annotations

import tensorflow as tf


def crop_flip(images: tf.Tensor, seed: tf.Tensor, padding: int = 4) -> tf.Tensor:
    """Shift each image at random, filling with zeros, and mirror half of them.

    The same as padding by `padding` zeros on every side, cutting out a window of the
    original size at a place drawn for each image, and reversing its columns with
    probability 1/2.

    Args:
        images: `(B, height, width, channels)`, any number type; the shape may be
            dynamic.
        seed: Two integers `(2,)`.
        padding: Largest shift in pixels; not negative. 4 is the usual CIFAR recipe.

    Returns:
        Tensor of the shape and type of `images`.

    Raises:
        ValueError: If `padding` is negative.

    Example:
        >>> import tensorflow as tf
        >>> images = tf.ones((2, 8, 8, 3))
        >>> crop_flip(images, seed=(0, 1)).shape
        TensorShape([2, 8, 8, 3])
    """
    if padding < 0:
        raise ValueError(f"`padding` must not be negative. Received: padding={padding}")
    images = tf.convert_to_tensor(images)
    batch, height, width, channels = tf.unstack(tf.shape(images))
    top, left, flip = crop_flip_draws(batch, seed, padding)
    columns = tf.range(width)[None, :]
    columns = tf.where(flip[:, None], width - 1 - columns, columns) + left[:, None]
    rows = tf.range(height)[None, :] + top[:, None]
    # One flat gather of pixels: the index of pixel (row, column) of padded image b.
    padded_height, padded_width = height + 2 * padding, width + 2 * padding
    first_row = tf.range(batch)[:, None] * padded_height
    index = (first_row + rows)[:, :, None] * padded_width + columns[:, None, :]
    border = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
    pixels = tf.reshape(tf.pad(images, border), [-1, channels])
    return tf.ensure_shape(tf.gather(pixels, index), images.shape)


def crop_flip_draws(
    batch: int | tf.Tensor, seed: tf.Tensor, padding: int = 4
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The random choices that `crop_flip` makes.

    Args:
        batch: Number of images, B.
        seed: Two integers `(2,)`.
        padding: Largest shift in pixels.

    Returns:
        `(top, left, flip)`: the window's corner in the padded image, int32 `(B,)` from
        0 to `2 * padding`, and whether it is mirrored, bool `(B,)`.

    Example:
        >>> top, left, flip = crop_flip_draws(3, seed=(0, 1))
        >>> top.shape, flip.dtype
        (TensorShape([3]), tf.bool)
    """
    # One alphabet of (2p+1) * (2p+1) * 2 equally likely outcomes. "philox" by name:
    # the automatic choice may depend on the device.
    places = 2 * padding + 1
    draw = tf.random.stateless_uniform(
        [batch], seed, minval=0, maxval=2 * places**2, dtype=tf.int32, alg="philox"
    )
    return draw // 2 // places, draw // 2 % places, draw % 2 == 1
