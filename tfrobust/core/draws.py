"""Random numbers that hang on an image and a seed alone, the same everywhere.

TensorFlow's differ under XLA, and one seed for each row would take a loop over the
batch in every step. These are products of integers: bit for bit the same on every
device, under XLA, and in any batch.
"""

from __future__ import annotations

import math

import tensorflow as tf

_WORD = 2**31 - 1


def keys_of(seeds: tf.Tensor) -> tf.Tensor:
    """Seeds int64 `[B, 2]`, as of `core.seeds.seeds_of`, as 31-bit words, int64 `[B]`.

    Example:
        >>> int(keys_of(tf.constant([[1, 2]], tf.int64))[0]) < 2**31
        True
    """
    key = tf.zeros_like(seeds[:, 0])
    for half in (seeds[:, 0], seeds[:, 1]):
        key = _stirred(key + half % 2**31)
        key = _stirred(key + half // 2**31 % 2**31)
    return key


def derived(keys: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """Keys for the draws of one step of many, int64 of the keys' shape.

    Args:
        keys: int64 `[B]`, as of `keys_of`.
        number: Of the step, of a shape that broadcasts against the keys'.

    Example:
        >>> keys = tf.constant([[5]], tf.int64)
        >>> derived(keys, tf.range(3)).shape
        TensorShape([1, 3])
    """
    return _stirred(keys + tf.cast(number, tf.int64))


def draws_of(
    keys: tf.Tensor, number: tf.Tensor | int, count: tf.Tensor | int
) -> tf.Tensor:
    """31-bit integers of one step, as good as uniform, int64 `[B, count]`.

    Args:
        keys: int64 `[B]`, as of `keys_of` or `derived`.
        number: Of the step, a scalar.
        count: How many for each key.

    Example:
        >>> draws_of(tf.constant([5], tf.int64), 0, 3).shape
        TensorShape([1, 3])
    """
    key = derived(keys, number)
    return _stirred(_stirred(key[:, None] + tf.range(tf.cast(count, tf.int64))))


def uniform(draws: tf.Tensor) -> tf.Tensor:
    """Draws as float32 strictly between 0 and 1, of 23 bits, so that none is rounded.

    Example:
        >>> uniform(tf.constant([0, 2**31 - 1], tf.int64)).numpy().tolist()
        [5.960464477539063e-08, 0.9999999403953552]
    """
    high = tf.bitwise.right_shift(draws, tf.constant(8, tf.int64))
    return (tf.cast(high, tf.float32) + 0.5) * 2.0**-23


def normal(draws: tf.Tensor) -> tf.Tensor:
    """Standard normal numbers float32 `[B, count]` from draws `[B, 2 * count]`.

    Reference: Box and Muller 1958, A Note on the Generation of Random Normal Deviates.

    Example:
        >>> normal(tf.zeros([2, 6], tf.int64)).shape
        TensorShape([2, 3])
    """
    first, second = tf.split(uniform(draws), 2, axis=-1)
    return tf.sqrt(-2.0 * tf.math.log(first)) * tf.cos(2.0 * math.pi * second)


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
