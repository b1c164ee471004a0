"""Norms, units and cosines of each example of a batch.

An example is a row: all axes after the first belong to it. Gradients of confident
networks reach 1e-30 and their squares are no float32, so what is measured is divided by
its largest entry first. Two functions do without, since training differentiates
through them: see `cosine` and `squared_norms`.
"""

from __future__ import annotations

import tensorflow as tf


def spread(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """One number for each example, `[B]`, as `[B, 1, ...]` of the rank of `like`.

    Args:
        values: `[B]`, or `[B, k]` for k vectors of each example.
        like: `[B, ...]`, or `[B, k, ...]`.

    Example:
        >>> spread(tf.constant([1.0, 2.0]), tf.ones([2, 3, 4])).shape
        TensorShape([2, 1, 1])
    """
    for _ in range(len(like.shape) - len(values.shape)):
        values = values[..., None]
    return values


def zero_where_not_finite(vectors: tf.Tensor) -> tf.Tensor:
    """The vectors with NaN and infinite entries set to zero.

    Example:
        >>> zero_where_not_finite(tf.constant([float("nan"), 2.0])).numpy().tolist()
        [0.0, 2.0]
    """
    return tf.where(tf.math.is_finite(vectors), vectors, tf.zeros_like(vectors))


def largest_entry(vectors: tf.Tensor, skip: int = 1) -> tf.Tensor:
    """Largest absolute entry of each example, `[B, ...]` to `[B, 1, ...]`.

    Args:
        vectors: Floating `[B, ...]`.
        skip: Leading axes that count examples, 2 for `[B, k, ...]`.

    Example:
        >>> largest_entry(tf.constant([[3.0, -4.0]])).numpy().tolist()
        [[4.0]]
    """
    return tf.reduce_max(tf.abs(vectors), axis=_own_axes(vectors, skip), keepdims=True)


def by_largest_entry(vectors: tf.Tensor, skip: int = 1) -> tf.Tensor:
    """Each example over its largest absolute entry; zero stays zero.

    What is left has squares that neither under- nor overflow.

    Args:
        vectors: Floating `[B, ...]`.
        skip: As for `largest_entry`.

    Example:
        >>> by_largest_entry(tf.constant([[3e-30, -6e-30], [0.0, 0.0]])).numpy()
        array([[ 0.5, -1. ],
               [ 0. ,  0. ]], dtype=float32)
    """
    return tf.math.divide_no_nan(vectors, largest_entry(vectors, skip))


def norms(vectors: tf.Tensor) -> tf.Tensor:
    """Euclidean norm of each example, `[B, ...]` to `[B]`, without under- or overflow.

    Example:
        >>> float(norms(tf.constant([[3e-30, 4e-30]]))[0]) > 4.9e-30
        True
    """
    largest = largest_entry(vectors)
    scaled = tf.math.divide_no_nan(vectors, largest)
    # Sizes are kept until the end: an empty batch has no size to infer.
    squares = tf.reduce_sum(tf.square(scaled), _own_axes(vectors, 1), keepdims=True)
    return tf.reshape(largest * tf.sqrt(squares), [-1])


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """Each example over its Euclidean norm; zero stays zero.

    Divided in two steps: the norm alone may be too small to have a float32 inverse.

    Example:
        >>> unit(tf.constant([[0.0, 1e-30], [0.0, 0.0]])).numpy().tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    scaled = by_largest_entry(vectors)
    return tf.math.divide_no_nan(scaled, spread(norms(scaled), vectors))


def squared_norms(vectors: tf.Tensor) -> tf.Tensor:
    """Squared Euclidean norm of each example, `[B, ...]` to `[B]`.

    The plain sum, of which a gradient penalty is the mean: its derivative is `2 v`
    whatever v is, also 0. Squares of very small entries are 0, as their share in a loss
    is.

    Example:
        >>> squared_norms(tf.constant([[3.0, 4.0]])).numpy().tolist()
        [25.0]
    """
    return tf.reduce_sum(tf.square(vectors), axis=_own_axes(vectors, 1))


def lengths(vectors: tf.Tensor) -> tf.Tensor:
    """Euclidean norm of each of k vectors of each example, `[B,k,...]` to `[B,k]`.

    Example:
        >>> lengths(tf.constant([[[3.0, 4.0], [0.0, 0.0]]])).numpy().tolist()
        [[5.0, 0.0]]
    """
    return tf.sqrt(tf.reduce_sum(tf.square(vectors), axis=_own_axes(vectors, 2)))


def cosine(vectors: tf.Tensor, others: tf.Tensor, epsilon: float = 1e-18) -> tf.Tensor:
    """Cosine of the angle between vectors, in value and in gradient 0 at zero.

    `unit` is not used here: training raises a cosine, and its derivative grows as one
    over the length. Below `epsilon` it would lead nowhere but to infinity.

    Args:
        vectors: float32 `[B,k,...]`.
        others: float32 `[B,k,...]`.
        epsilon: Where a vector is not longer than this there is no angle, and cosine
            and gradient are 0. Squares of much less are no float32.

    Returns:
        float32 `[B,k]`, from -1 to 1.

    Reference: Ganz et al. 2023 (PAG), equation 2.

    Example:
        >>> cosine(tf.constant([[[3.0, 4.0]]]), tf.constant([[[1.0, 0.0]]])).numpy()
        array([[0.6]], dtype=float32)
    """
    axes = _own_axes(vectors, 2)
    units = [_unit_or_zero(values, axes, epsilon) for values in (vectors, others)]
    return tf.reduce_sum(units[0] * units[1], axis=axes)


def _own_axes(vectors: tf.Tensor, skip: int) -> list[int]:
    """The axes of an example's own entries."""
    return list(range(skip, len(vectors.shape)))


def _unit_or_zero(vectors: tf.Tensor, axes: list[int], epsilon: float) -> tf.Tensor:
    squares = tf.reduce_sum(tf.square(vectors), axis=axes, keepdims=True)
    # Selected twice: a gradient through the side not taken would be 0 times infinity.
    usable = squares > epsilon**2
    inverse = tf.math.rsqrt(tf.where(usable, squares, 1.0))
    return tf.where(usable, vectors * inverse, 0.0)
