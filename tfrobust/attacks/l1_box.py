"""The nearest image that is within an L1 ball and within [0, 1] at once.

`ThreatModel.project` brings a point into the ball and then clips it, which ends nearer
to the original than it need be: what clipping takes from one pixel another might have
had. Here both are met together.
"""

from __future__ import annotations

import tensorflow as tf

from tfrobust.attacks.threat import rounded_inwards

# As the constraints do: float32 rounds sums either way.
_INSIDE = 1.0 - 1e-6


def project_l1_box(
    images: tf.Tensor, points: tf.Tensor, eps: float | tf.Tensor
) -> tf.Tensor:
    """Nearest points of the intersection of an L1 ball and [0, 1], in Euclidean norm.

    Each entry of the perturbation keeps its sign, shrinks by an amount lambda that all
    of them share, and stops at the room that its pixel has: `min(max(|d| - lambda, 0),
    room)`. lambda is 0 where that has a norm of at most eps, else what leaves a norm of
    eps. The norm is piecewise linear in lambda with its corners at `|d|` and
    `|d| - room`, so sorting these finds it, in O(d log d). Entries that shrink to 0 are
    exactly those of the image.

    Args:
        images: float32 `[B,H,W,C]` in [0, 1], the centres.
        points: float32 `[B,H,W,C]`, finite.
        eps: A radius, or one for each row as `[B]`.

    Returns:
        float32 `[B,H,W,C]` in [0, 1].

    Reference: Croce and Hein 2021 (APGD-L1), proposition 2.1 and section 2.1,
        https://arxiv.org/abs/2103.01208.

    Example:
        >>> image = tf.reshape(tf.constant([0.9, 0.5]), [1, 1, 2, 1])
        >>> point = image + tf.reshape(tf.constant([1.0, 0.6]), [1, 1, 2, 1])
        >>> nearest = tf.reshape(project_l1_box(image, point, 0.4) - image, [-1])
        >>> [round(float(change), 4) for change in nearest]
        [0.1, 0.3]
    """
    shape = tf.shape(images)
    rows = [shape[0], tf.reduce_prod(shape[1:])]
    delta = tf.reshape(points - images, rows)
    eps = tf.reshape(tf.cast(eps, tf.float32), [-1, 1]) * _INSIDE
    centre = tf.reshape(images, rows)
    sizes = tf.abs(delta)
    room = tf.where(delta > 0.0, 1.0 - centre, centre)
    outside = _total(tf.minimum(sizes, room)) > eps
    shrink = _shrink(sizes, room, eps)
    # The sums behind it lose digits: from here the norm is linear, one step is exact.
    kept, free = _shrunk(sizes, room, shrink)
    slope = tf.maximum(_total(tf.cast(free, tf.float32)), 1.0)
    shrink = tf.maximum(shrink + (_total(kept) - eps) / slope, 0.0)
    kept, _ = _shrunk(sizes, room, tf.where(outside, shrink, 0.0))
    scale = tf.minimum(tf.math.divide_no_nan(eps, _total(kept)), 1.0)
    delta = tf.reshape(tf.sign(delta) * kept * scale, shape)
    nearest = rounded_inwards(images, images + delta, delta)
    return tf.ensure_shape(tf.clip_by_value(nearest, 0.0, 1.0), images.shape)


def _shrink(sizes: tf.Tensor, room: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
    """What leaves a norm of eps, `[B, 1]`; of no meaning where nothing need shrink.

    From the largest corner down to 0 the norm grows from 0. Below a corner `|d|` one
    entry more grows with it, below a corner `|d| - room` one less.
    """
    size = tf.shape(sizes)[1]
    corners = tf.concat([sizes, tf.maximum(sizes - room, 0.0)], axis=1)
    upper, index = tf.math.top_k(corners, 2 * size)
    lower = tf.concat([upper[:, 1:], tf.zeros_like(upper[:, :1])], axis=1)
    growing = tf.cumsum(tf.where(index < size, 1.0, -1.0), axis=1)
    norm = tf.cumsum(growing * (upper - lower), axis=1)
    below = tf.reduce_sum(tf.cast(norm < eps, tf.int32), axis=1, keepdims=True)
    first = tf.minimum(below, 2 * size - 1)
    lower, growing, norm = (
        tf.gather(values, first, axis=1, batch_dims=1)
        for values in (lower, growing, norm)
    )
    return lower + (norm - eps) / tf.maximum(growing, 1.0)


def _shrunk(
    sizes: tf.Tensor, room: tf.Tensor, shrink: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sizes after shrinking, and which of them would shrink further, `[B, N]`."""
    left = tf.maximum(sizes - shrink, 0.0)
    return tf.minimum(left, room), (left > 0.0) & (left < room)


def _total(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, axis=1, keepdims=True)
