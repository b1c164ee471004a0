"""The nearest point of a hyperplane within the box [0, 1], in L-infinity, L2 and L1.

The shortest step moves each pixel against the side of the plane that the point is on,
by no more than the room that the pixel has. How the way is shared out is what the norms
differ in:

- L-infinity: all pixels move alike, each until it is at its bound.
- L2: each moves in proportion to its entry of the normal, until it is at its bound.
- L1: the pixel of the largest entry moves alone, as far as it has to or can; then the
  next.

Each is exact, in the time that sorting takes, and for each row of the batch by itself.
"""

from __future__ import annotations

import math

import tensorflow as tf

from tfrobust.core.vectors import largest_entry

# Later than any pixel is at its bound, and not so late that a product overflows.
_NEVER = 1e30
# Corrections by Newton's method of what sums over all pixels lost to rounding.
_CORRECTIONS = 2


def step_to_hyperplane(
    norm: float | str, points: tf.Tensor, normals: tf.Tensor, values: tf.Tensor
) -> tf.Tensor:
    """The shortest step from a point to a hyperplane within the box [0, 1].

    It solves `min norm(step)` where `values + normals . step = 0` and `points + step`
    is in [0, 1]. Where no point of the box is on the plane, the step goes to the corner
    that is nearest to it; a pixel whose entry of the normal is 0 stays in either case.

    Args:
        norm: 1, 2, `"inf"` or `math.inf`.
        points: float32 `[B,d]` in [0, 1].
        normals: float32 `[B,d]`, finite, of any length.
        values: float32 `[B]`, how far each point is from the plane: what a linear
            function of slope `normals` is there.

    Returns:
        float32 `[B,d]`.

    Reference: Croce and Hein 2020, https://arxiv.org/abs/1907.02044.

    Example:
        >>> points, normals = tf.constant([[0.5, 0.75]]), tf.constant([[2.0, -1.0]])
        >>> for norm in (1, 2, "inf"):
        ...     step = step_to_hyperplane(norm, points, normals, tf.constant([0.75]))
        ...     print(tf.round(1000.0 * step).numpy().tolist())
        [[-375.0, 0.0]]
        [[-300.0, 150.0]]
        [[-250.0, 250.0]]
    """
    largest = largest_entry(normals)
    normals = tf.math.divide_no_nan(normals, largest)
    values = tf.math.divide_no_nan(values, largest[:, 0])
    sizes, needed = tf.abs(normals), tf.abs(values)[:, None]
    # A function that is positive here has to fall.
    way = -tf.sign(values)[:, None] * tf.sign(normals)
    room = tf.where(way > 0.0, 1.0 - points, points)
    room = tf.where(sizes > 0.0, tf.maximum(room, 0.0), 0.0)
    if norm == 1:
        moves = _one_after_the_other(sizes, room, needed)
    elif norm == 2:
        moves = _together(sizes, sizes, room, needed)
    elif norm in ("inf", math.inf):
        moves = _together(sizes, tf.sign(sizes), room, needed)
    else:
        raise ValueError(f'`norm` must be 1, 2 or "inf". Received: norm={norm!r}')
    return way * moves


def _together(
    sizes: tf.Tensor, speeds: tf.Tensor, room: tf.Tensor, needed: tf.Tensor
) -> tf.Tensor:
    """Moves `min(t * speeds, room)`, t such that `sizes . moves` is what is needed.

    That sum is piecewise linear and rises with t. It bends where a pixel stops, so the
    pixels are put in the order in which they do.
    """
    stops = tf.where(speeds > 0.0, room / tf.maximum(speeds, 1e-30), _NEVER)
    stops = tf.minimum(stops, _NEVER)
    order = tf.argsort(stops, axis=1)
    stops = tf.gather(stops, order, batch_dims=1)
    stopped = tf.gather(sizes * room, order, batch_dims=1)
    rates = tf.gather(sizes * speeds, order, batch_dims=1)
    # Of the pixels that stop before each, and of it and those that stop after it.
    stopped = tf.cumsum(stopped, axis=1, exclusive=True)
    rates = tf.cumsum(rates, axis=1, reverse=True)
    short = tf.cast(stopped + stops * rates < needed, tf.int32)
    last = tf.minimum(
        tf.reduce_sum(short, axis=1, keepdims=True), tf.shape(sizes)[1] - 1
    )
    gained = tf.gather(stopped, last, batch_dims=1)
    time = tf.math.divide_no_nan(needed - gained, tf.gather(rates, last, batch_dims=1))
    for _ in range(_CORRECTIONS):
        time = _corrected(time, sizes, speeds, room, needed)
    moves = tf.minimum(time * speeds, room)
    most = tf.reduce_sum(sizes * room, axis=1, keepdims=True)
    return tf.where(most <= needed, room, moves)


def _corrected(
    time: tf.Tensor,
    sizes: tf.Tensor,
    speeds: tf.Tensor,
    room: tf.Tensor,
    needed: tf.Tensor,
) -> tf.Tensor:
    """One step of Newton's method, `[B,1]`."""
    moves = tf.minimum(time * speeds, room)
    missing = needed - tf.reduce_sum(sizes * moves, axis=1, keepdims=True)
    rates = tf.where(moves < room, sizes * speeds, 0.0)
    rate = tf.reduce_sum(rates, axis=1, keepdims=True)
    return tf.maximum(time + tf.math.divide_no_nan(missing, rate), 0.0)


def _one_after_the_other(
    sizes: tf.Tensor, room: tf.Tensor, needed: tf.Tensor
) -> tf.Tensor:
    """Moves of the pixels in the order of `sizes`, until the sum is what is needed."""
    order = tf.argsort(sizes, axis=1, direction="DESCENDING")
    ordered = tf.gather(sizes, order, batch_dims=1)
    limits = tf.gather(room, order, batch_dims=1)
    before = tf.cumsum(ordered * limits, axis=1, exclusive=True)
    moves = tf.math.divide_no_nan(tf.maximum(needed - before, 0.0), ordered)
    places = tf.argsort(order, axis=1)
    return tf.gather(tf.minimum(moves, limits), places, batch_dims=1)
