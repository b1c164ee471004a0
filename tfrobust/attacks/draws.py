"""Random integers that are the same bit for bit everywhere, and in any batch.

TensorFlow's own differ under XLA, and one seed for each row would take a loop over the
batch in every step of a search. These are products of integers.
"""

from __future__ import annotations

import tensorflow as tf

_WORD = 2**31 - 1


def keys_of(seeds: tf.Tensor) -> tf.Tensor:
    """Seeds int64 `[B, 2]`, as `seeds_of` gives them, as 31-bit words, int64 `[B]`.

    Example:
        >>> keys_of(tf.constant([[1, 2]], tf.int64)).shape
        TensorShape([1])
    """
    key = tf.zeros_like(seeds[:, 0])
    for half in (seeds[:, 0], seeds[:, 1]):
        key = _stirred(key + half % 2**31)
        # The last bit of 63 is 0 but of large seeds; any odd place for it will do.
        key = _stirred(key + half // 2**31 % 2**31 + half // 2**62 * 0x2C1B3C6D)
    return key


def draws_of(
    keys: tf.Tensor, query: tf.Tensor | int, count: tf.Tensor | int
) -> tf.Tensor:
    """31-bit integers of one query, as good as uniform, int64 `[B, count]`.

    Args:
        keys: int64 `[B]`, from `keys_of`. Equal keys give equal draws.
        query: int32 scalar, which of the draws of a key.
        count: How many integers.

    Example:
        >>> draws = draws_of(keys_of(tf.constant([[1, 2], [1, 2]], tf.int64)), 0, 3)
        >>> bool(tf.reduce_all(draws[0] == draws[1]))
        True
    """
    key = _stirred(keys + tf.cast(query, tf.int64))
    return _stirred(_stirred(key[:, None] + tf.range(tf.cast(count, tf.int64))))


def below(draws: tf.Tensor, limit: tf.Tensor | int) -> tf.Tensor:
    """Draws as integers in [0, limit), int32.

    Example:
        >>> below(tf.constant([0, 2**31 - 1], tf.int64), 6).numpy().tolist()
        [0, 5]
    """
    return tf.cast(draws * tf.cast(limit, tf.int64) // 2**31, tf.int32)


def signs_of(draws: tf.Tensor) -> tf.Tensor:
    """Draws as 1.0 or -1.0, float32.

    Example:
        >>> signs_of(tf.constant([0, 2**31 - 1], tf.int64)).numpy().tolist()
        [1.0, -1.0]
    """
    return tf.where(draws < 2**30, 1.0, -1.0)


def uniform_of(draws: tf.Tensor) -> tf.Tensor:
    """Draws as numbers between 0 and 1, both left out, float32.

    Example:
        >>> uniform_of(tf.constant([0, 2**30, 2**31 - 1], tf.int64)).numpy().round(3)
        array([0. , 0.5, 1. ], dtype=float32)
    """
    # As many bits as float32 holds exactly, with the half that keeps it off 0.
    high = tf.bitwise.right_shift(draws, tf.constant(8, tf.int64))
    return (tf.cast(high, tf.float32) + 0.5) / 2.0**23


def normals_of(draws: tf.Tensor) -> tf.Tensor:
    """Draws of the normal distribution, float32.

    Example:
        >>> abs(normals_of(tf.constant([2**30], tf.int64)).numpy()).round(3)
        array([0.], dtype=float32)
    """
    return tf.math.ndtri(uniform_of(draws))


def _stirred(words: tf.Tensor) -> tf.Tensor:
    """A one-to-one map of 31-bit words that takes neighbours apart.

    Odd factors and shifted copies, as in the last step of common hash functions. No
    product leaves the range of int64.
    """
    words = tf.bitwise.bitwise_and(words, _WORD)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x31848BAB)):
        words = _folded(words, shift) * factor
        words = tf.bitwise.bitwise_and(words, _WORD)
    return _folded(words, 16)


def _folded(words: tf.Tensor, shift: int) -> tf.Tensor:
    high = tf.bitwise.right_shift(words, tf.constant(shift, tf.int64))
    return tf.bitwise.bitwise_xor(words, high)
