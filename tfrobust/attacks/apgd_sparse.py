"""How auto-PGD steps in the L1 ball: along few entries, as many as it needs.

The counterpart of `apgd_steps.py`, which has no momentum and no share of raising steps.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrobust.attacks.apgd_steps import Steps, Visit, returned
from tfrobust.attacks.l1_box import project_l1_box
from tfrobust.core.vectors import zero_where_not_finite

# A step shrinks by this factor, down to a tenth of its first length.
_SHRINK, _LEAST = 1.5, 10.0


class Sparsity(NamedTuple):
    """What decides the length of the steps and their entries; rows `[B]`."""

    size: tf.Tensor  # float32, of a step
    entries: tf.Tensor  # int32, how many a step changes
    changed: tf.Tensor  # int32, entries of the best point at the last checkpoint


class SparseSteps(Steps):
    """Steps of `eps` in the entries with the largest gradients.

    At a checkpoint a step gets two thirds of the entries in which the best point
    differs from the image. Where these are fewer than 0.95 of what they were at the
    last checkpoint, steps are `eps` long again and the image goes back to its best
    point; elsewhere they shrink by 1.5, down to `eps / 10`.

    Args:
        images: float32 `[B,H,W,C]`.
        eps: float32 `[B]`.
        period: int32 scalar, steps from one checkpoint to the next.
        continues: Whether the start is the end of another search, whose changed entries
            count as those of a best point. Else the first steps change a fifth of all.

    Reference: Croce and Hein 2021, algorithm 1 and section 2.2.
    """

    def __init__(
        self, images: tf.Tensor, eps: tf.Tensor, period: tf.Tensor, continues: bool
    ) -> None:
        self._images, self._eps = images, eps
        self._period, self._continues = period, continues
        self._size = tf.reduce_prod(tf.shape(images)[1:])

    def begin(self, start: tf.Tensor) -> Sparsity:
        """The longest steps."""
        if self._continues:
            changed = self._changed(start)
            return Sparsity(self._eps, _share(changed), changed)
        every = tf.fill(tf.shape(self._eps), self._size)
        return Sparsity(self._eps, (every + 4) // 5, every)

    def advance(
        self, number: tf.Tensor, here: Visit, best: Visit, pace: Sparsity
    ) -> tuple[tf.Tensor, Sparsity]:
        """Checks the sparsity where it is time, then steps."""
        due = (number > 0) & (number % self._period == 0)
        changed = self._changed(best.point)
        fewer = 20 * changed < 19 * pace.changed
        shorter = tf.maximum(pace.size / _SHRINK, self._eps / _LEAST)
        size = tf.where(fewer, self._eps, shorter)
        pace = Sparsity(
            size=tf.where(due, size, pace.size),
            entries=tf.where(due, _share(changed), pace.entries),
            changed=tf.where(due, changed, pace.changed),
        )
        here = returned(here, best, due & fewer)
        step = tf.reshape(pace.size, [-1, 1, 1, 1]) * sparse(
            here.gradient, pace.entries
        )
        return project_l1_box(self._images, here.point + step, self._eps), pace

    def _changed(self, points: tf.Tensor) -> tf.Tensor:
        """Entries that differ from the image's, int32 `[B]`."""
        differs = tf.cast(points != self._images, tf.int32)
        return tf.reduce_sum(differs, axis=[1, 2, 3])


def sparse(gradient: tf.Tensor, entries: tf.Tensor) -> tf.Tensor:
    """The signs of the largest entries of each gradient, L1 norm 1 in all.

    Args:
        gradient: float32 `[B,H,W,C]`. What is not finite counts as 0.
        entries: int32 `[B]`, how many are kept, at least 1. Ties with the least of them
            are kept, zeros never.

    Returns:
        float32 `[B,H,W,C]`.

    Example:
        >>> gradient = tf.reshape(tf.constant([0.1, -3.0, 2.0]), [1, 1, 3, 1])
        >>> sparse(gradient, tf.constant([2])).numpy().ravel().tolist()
        [0.0, -0.5, 0.5]
    """
    gradient = zero_where_not_finite(gradient)
    size = tf.reduce_prod(tf.shape(gradient)[1:])
    sizes = tf.reshape(tf.abs(gradient), [tf.shape(gradient)[0], size])
    ordered = tf.sort(sizes, axis=1, direction="DESCENDING")
    least = tf.gather(ordered, entries[:, None] - 1, axis=1, batch_dims=1)
    large = tf.abs(gradient) >= tf.reshape(least, [-1, 1, 1, 1])
    signs = tf.where(large, tf.sign(gradient), 0.0)
    count = tf.reduce_sum(tf.abs(signs), axis=[1, 2, 3], keepdims=True)
    return tf.math.divide_no_nan(signs, count)


def _share(changed: tf.Tensor) -> tf.Tensor:
    """Two thirds of a number of entries, rounded up, at least 1."""
    return tf.maximum((2 * changed + 2) // 3, 1)
