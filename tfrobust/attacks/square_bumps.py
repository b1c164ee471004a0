"""Bumps in squares, which a search in L2 or in L1 exchanges for one another."""

from __future__ import annotations

import tensorflow as tf

from tfrobust.attacks.draws import draws_of, signs_of
from tfrobust.attacks.l1_box import project_l1_box
from tfrobust.attacks.square_moves import Moves, least
from tfrobust.attacks.threat import ThreatModel

# The search starts from a grid of about so many bumps a side.
_GRID = 5
# Two patterns of norm 1 are opposite where their sum has less than this squared norm,
# in L1 the root of it.
_CANCELS = 1e-6


def bump(side: tf.Tensor | int, size: tf.Tensor | int, norm: int = 2) -> tf.Tensor:
    """The pattern that a proposal adds, in the corner of a square of zeros.

    Two rectangles one above the other, `side // 2` rows and the rest, of the same norm
    and opposite sign. In each the value falls off with the distance d from its centre,
    in the maximum norm: `sum over k from d to side // 2 of 1 / (k + 1)^2`, in L1 with
    the fourth power for the second. Norm 1 in all.

    Args:
        side: int32 scalar, rows and columns of the pattern.
        size: Rows and columns of the result, at least `side`.
        norm: 1 or 2.

    Returns:
        float32 `[size, size]`, zero outside of the first `side` rows and columns.

    Reference: Andriushchenko et al. 2020, equation 2, and their program for centres.
    For L1 Croce and Hein 2021, https://arxiv.org/abs/2103.01208, and their program.

    Example:
        >>> tf.cast(tf.round(100.0 * bump(3, 3)), tf.int32).numpy().tolist()
        [[14, 68, 14], [-13, -13, -13], [-13, -65, -13]]
        >>> tf.cast(tf.round(100.0 * bump(3, 3, norm=1)), tf.int32).numpy().tolist()
        [[3, 45, 3], [-2, -2, -2], [-2, -39, -2]]
    """
    row, column = tf.range(size)[:, None], tf.range(size)[None, :]
    half = side // 2
    upper = row < half
    # Where the rectangle begins and how many rows it has.
    start = tf.where(upper, 0, half)
    rows = tf.where(upper, half, side - half)
    apart = tf.maximum(tf.abs(row - start - rows // 2), tf.abs(column - half))
    terms = 1.0 / tf.square(tf.range(1.0, tf.cast(size, tf.float32) + 1.0))
    terms = tf.square(terms) if norm == 1 else terms
    sums = tf.concat([[0.0], tf.cumsum(terms)], axis=0)
    height = tf.gather(sums, half + 1) - tf.gather(sums, tf.minimum(apart, half + 1))
    inside = (row < side) & (column < side)
    unit = _share if norm == 1 else _unit
    above = unit(tf.where(inside & upper, height, 0.0), [0, 1])
    below = unit(tf.where(inside & ~upper, height, 0.0), [0, 1])
    return unit(above - below, [0, 1])


class Bumps(Moves):
    """L2: a square gives its norm to another, which gets a bump.

    Reference: Andriushchenko et al. 2020, algorithm 3.
    """

    _norm = 2

    def start(self) -> tf.Tensor:
        """A grid of bumps, each turned and signed at random."""
        side = tf.maximum(least(self._height, self._width) // _GRID, 1)
        row, down = _tiles(self._rows, side)
        column, across = _tiles(self._columns, side)
        tile = tf.where(
            (down[:, None] < 0) | (across[None, :] < 0),
            -1,
            down[:, None] * self._width + across[None, :],
        )
        # More draws than tiles: their number must be known under XLA.
        count = self._height * self._width
        draws = draws_of(self._keys, 0, count * (1 + self._channels))
        shape = [-1, count, 1 + self._channels]
        chosen = tf.gather(tf.reshape(draws, shape), tf.maximum(tile, 0), axis=1)
        shapes = self._placed(side, row[None, :, None], column[None, None, :], chosen)
        delta = tf.where(tile[None, :, :, None] >= 0, shapes, 0.0)
        return self._within(self._begun(delta))

    def propose(self, point: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
        """The second square is cleared, the first takes its norm."""
        draws = draws_of(self._keys, query, 5 + self._channels)
        side = self._odd(self._side(query))
        row, column, inside = self._offsets(side, draws[:, :2])
        *_, cleared = self._offsets(side, draws[:, 2:4])
        delta = point - self._images
        added = self._placed(side, row, column, draws[:, None, None, 4:])
        added = tf.where(inside, added, 0.0)
        kept = self._scaled(tf.where(inside, delta, 0.0))
        norms = self._available(delta, inside | cleared)
        mixed = added + kept
        # Opposite bumps cancel, but for what rounding leaves, which is no direction.
        mixed = tf.where(self._cancels(mixed), added, mixed)
        delta = tf.where(cleared, 0.0, delta)
        return self._within(tf.where(inside, norms * self._scaled(mixed), delta))

    def _begun(self, delta: tf.Tensor) -> tf.Tensor:
        """The first perturbation, from a grid of bumps of norm 1 each."""
        return self._eps * _unit(delta, [1, 2, 3])

    def _scaled(self, values: tf.Tensor) -> tf.Tensor:
        """Each channel over its norm; 0 where that is 0."""
        return _unit(values, [1, 2])

    def _cancels(self, mixed: tf.Tensor) -> tf.Tensor:
        """Where next to nothing is left of a channel, bool `[B, 1, 1, C]`."""
        return _total(tf.square(mixed), [1, 2]) <= _CANCELS

    def _available(self, delta: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
        """The norm that each channel of the first square gets, `[B, 1, 1, C]`.

        What the two squares have, and a share of what clipping left unused.
        """
        squares = tf.square(delta)
        unused = tf.square(self._eps) - _total(squares, [1, 2, 3])
        share = tf.maximum(unused, 0.0) / tf.cast(self._channels, tf.float32)
        return tf.sqrt(_total(tf.where(windows, squares, 0.0), [1, 2]) + share)

    def _placed(
        self, side: tf.Tensor, row: tf.Tensor, column: tf.Tensor, draws: tf.Tensor
    ) -> tf.Tensor:
        """A bump in each place, on its side or not, signed for each channel.

        Args:
            side: int32 scalar.
            row: int32 `[B, H, 1]`, counted from the bump's corner.
            column: int32 `[B, 1, W]`.
            draws: int64 `[B, H, W, 1 + C]`, or with ones for H and W.

        Returns:
            float32 `[B, H, W, C]`. Of no meaning outside of the bump.
        """
        size = least(self._height, self._width)
        row = tf.clip_by_value(row, 0, size - 1)
        column = tf.clip_by_value(column, 0, size - 1)
        turned = signs_of(draws[..., 0]) > 0.0
        place = tf.where(turned, column * size + row, row * size + column)
        pattern = bump(side, size, self._norm)
        value = tf.gather(tf.reshape(pattern, [-1]), place)
        return value[..., None] * signs_of(draws[..., 1:])

    def _odd(self, side: tf.Tensor) -> tf.Tensor:
        """At least 3 and odd, so that there is a centre; less if less fits."""
        most = least(self._height, self._width)
        return tf.minimum(tf.maximum(side, 3) // 2 * 2 + 1, (most - 1) // 2 * 2 + 1)

    def _within(self, delta: tf.Tensor) -> tf.Tensor:
        moved, eps = self._images + delta, self._problem.eps
        return ThreatModel(self._norm).project(self._images, moved, eps)


class SharpBumps(Bumps):
    """L1: as in L2, with narrower bumps and norms that are sums.

    Reference: Croce and Hein 2021, https://arxiv.org/abs/2103.01208, and their program,
    which gives the first square as many times the norm that is to be had as there are
    channels, and begins from bumps of norm 1 whatever the radius. The projection on
    ball and box takes off what is too much, so that the smallest changes end.
    """

    _norm = 1

    def _begun(self, delta: tf.Tensor) -> tf.Tensor:
        return delta

    def _scaled(self, values: tf.Tensor) -> tf.Tensor:
        return _share(values, [1, 2])

    def _cancels(self, mixed: tf.Tensor) -> tf.Tensor:
        return tf.square(_total(tf.abs(mixed), [1, 2])) <= _CANCELS

    def _available(self, delta: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
        sizes = tf.abs(delta)
        unused = tf.maximum(self._eps - _total(sizes, [1, 2, 3]), 0.0)
        channels = tf.cast(self._channels, tf.float32)
        return channels * _total(tf.where(windows, sizes, 0.0), [1, 2]) + unused

    def _within(self, delta: tf.Tensor) -> tf.Tensor:
        moved, eps = self._images + delta, self._problem.eps
        return project_l1_box(self._images, moved, eps)


def _tiles(position: tf.Tensor, side: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where in its tile each position is, and in which, -1 for those in none, `[N]`."""
    length = tf.shape(position)[0]
    count = length // side
    inner = position - (length - count * side) // 2
    tile = inner // side
    return inner % side, tf.where((tile >= 0) & (tile < count), tile, -1)


def _total(values: tf.Tensor, axes: list[int]) -> tf.Tensor:
    return tf.reduce_sum(values, axis=axes, keepdims=True)


def _unit(values: tf.Tensor, axes: list[int]) -> tf.Tensor:
    """Over its L2 norm along some axes; 0 where that is 0."""
    return tf.math.divide_no_nan(values, tf.sqrt(_total(tf.square(values), axes)))


def _share(values: tf.Tensor, axes: list[int]) -> tf.Tensor:
    """Over its L1 norm along some axes; 0 where that is 0."""
    return tf.math.divide_no_nan(values, _total(tf.abs(values), axes))
