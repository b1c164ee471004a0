"""What a search with squares proposes: how large, where, and in L-infinity what."""

from __future__ import annotations

import abc

import tensorflow as tf

from tfrobust.attacks.draws import below, draws_of, keys_of, signs_of
from tfrobust.attacks.problem import Problem
from tfrobust.core.seeds import seeds_of

# Ten-thousandths of the budget after which the share of changed pixels halves.
_BREAKS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def side_at(
    number: tf.Tensor | int,
    queries: int,
    p_init: float,
    height: tf.Tensor | int,
    width: tf.Tensor | int,
) -> tf.Tensor:
    """Side of the squares of one proposal, int32 scalar.

    `round(sqrt(p * height * width))`, at least 1 and no more than fits. p begins at
    `p_init` and is halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of
    10,000 queries, rescaled to the budget (section 5 of the paper).

    Args:
        number: int32 scalar, of the proposal, from 0.
        queries: The budget.
        p_init: Share of the pixels in the first squares.
        height: Of the images.
        width: Of the images.

    Example:
        >>> [int(side_at(i, 1000, 0.8, 32, 32)) for i in (0, 1, 2, 5, 6, 999)]
        [29, 29, 20, 20, 14, 1]
    """
    # The first proposal past each break: floor(10000 i / queries) > break.
    first = [-(-(after + 1) * queries // 10_000) for after in _BREAKS]
    halved = tf.reduce_sum(tf.cast(number >= tf.constant(first), tf.float32))
    pixels = tf.cast(height * width, tf.float32)
    side = tf.sqrt(pixels * p_init * 0.5**halved)
    return tf.clip_by_value(tf.cast(tf.round(side), tf.int32), 1, least(height, width))


class Moves(abc.ABC):
    """Where a search starts, and what it tries next.

    Args:
        problem: Images and their radii.
        queries: The budget, over which the squares shrink.
        p_init: Share of the pixels in the first squares.
        seed: Of the draws.
    """

    def __init__(
        self, problem: Problem, queries: int, p_init: float, seed: int
    ) -> None:
        self._queries, self._p_init = queries, p_init
        self._problem, self._images = problem, problem.images
        self._eps = tf.reshape(problem.eps, [-1, 1, 1, 1])
        self._keys = keys_of(seeds_of(problem.images, seed))
        # Numbers where they are known, as XLA needs them.
        shape, static = tf.shape(problem.images), problem.images.shape
        self._height, self._width, self._channels = (
            shape[axis] if static[axis] is None else static[axis] for axis in (1, 2, 3)
        )
        self._rows = tf.range(self._height)
        self._columns = tf.range(self._width)

    @abc.abstractmethod
    def start(self) -> tf.Tensor:
        """The first point, `[B, H, W, C]`."""

    @abc.abstractmethod
    def propose(self, point: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
        """A point to try in place of the best one so far, `[B, H, W, C]`.

        Args:
            point: float32 `[B, H, W, C]`.
            query: int32 scalar, how many queries went before, at least 1.
        """

    def _side(self, query: tf.Tensor) -> tf.Tensor:
        size = self._height, self._width
        return side_at(query - 1, self._queries, self._p_init, *size)

    def _offsets(
        self, side: tf.Tensor, corner: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """A square somewhere in each image.

        Args:
            side: int32 scalar.
            corner: int64 `[B, 2]`, draws.

        Returns:
            Rows `[B, H, 1]` and columns `[B, 1, W]` counted from its corner, int32, and
            where it is, bool `[B, H, W, 1]`.
        """
        top = below(corner[:, 0], self._height - side + 1)
        left = below(corner[:, 1], self._width - side + 1)
        row = (self._rows - top[:, None])[:, :, None]
        column = (self._columns - left[:, None])[:, None, :]
        inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
        return row, column, inside[..., None]


class Squares(Moves):
    """L-infinity: squares of one colour at the edge of the ball.

    Reference: Andriushchenko et al. 2020, algorithm 2.
    """

    def start(self) -> tf.Tensor:
        """Vertical stripes."""
        signs = signs_of(draws_of(self._keys, 0, self._width * self._channels))
        return self._at(tf.reshape(signs, [-1, 1, self._width, self._channels]))

    def propose(self, point: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
        """One square in one sign for each channel, or in the opposite ones."""
        draws = draws_of(self._keys, query, 2 + self._channels)
        *_, inside = self._offsets(self._side(query), draws[:, :2])
        signs = signs_of(draws[:, 2:])[:, None, None, :]
        moved = tf.where(inside, self._at(signs), point)
        still = tf.reduce_all(moved == point, axis=[1, 2, 3], keepdims=True)
        return tf.where(still & inside, self._at(-signs), moved)

    def _at(self, signs: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(self._images + self._eps * signs, 0.0, 1.0)


def least(height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor | int:
    """The shorter side, a number where both are.

    Example:
        >>> least(3, 2)
        2
    """
    if isinstance(height, int) and isinstance(width, int):
        return min(height, width)
    return tf.minimum(height, width)
