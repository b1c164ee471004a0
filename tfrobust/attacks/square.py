"""Random search with squares, an attack that asks for no gradient.

Longer than other files: the search, its two kinds of proposals and their random numbers
are one algorithm, which the L-infinity and the L2 case share.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import NamedTuple

import tensorflow as tf

from tfrobust.attacks.base import FixedBudget
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.problem import Problem
from tfrobust.attacks.registry import register
from tfrobust.core.loops import loop
from tfrobust.core.seeds import seeds_of
from tfrobust.settings import require, require_steps

# Ten-thousandths of the budget after which the share of changed pixels halves.
_BREAKS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
# The L2 search starts from a grid of about so many bumps a side.
_GRID = 5
# Two patterns of norm 1 are opposite where their sum has less than this squared norm.
_CANCELS = 1e-6
_WORD = 2**31 - 1


class _State(NamedTuple):
    """The search of each image; rows `[B]` or `[B,H,W,C]`."""

    queries: tf.Tensor  # int32 scalar, queries spent
    proposal: tf.Tensor  # what the next query is about
    best: tf.Tensor
    score: tf.Tensor  # of the best, -infinity before the first query
    reached: tf.Tensor  # whether the best is what the goal wants


@register("square")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Square(FixedBudget):
    """The Square attack (Andriushchenko et al. 2020, https://arxiv.org/abs/1912.00049).

    A random search on the margin that asks for logits alone, so that it does not care
    whether gradients are masked. It starts at the edge of the ball, proposes to change
    one square of the image at a time, and takes what raises the score. The squares
    shrink as the search goes on: see `side_at`.

    - L-infinity (algorithm 2): it starts from vertical stripes of `eps` or `-eps`. A
      proposal sets a square to one of the two, drawn for each channel. Where that would
      change nothing, the opposite is taken.
    - L2 (algorithm 3): it starts from a grid of bumps. A proposal clears one square and
      gives its norm, with what clipping to [0, 1] left unused, to another, in which it
      adds a bump (`bump`) to what was there.

    Squares fall anywhere in the image, as in the paper; the paper's own program never
    reaches the last row and column. The draws depend on the image and `seed` alone, not
    on the batch around it, and are the same under XLA.

    Costs at most `queries + 3` forward passes for an image and no gradient. (The first
    attack on a model still looks at the model's gradients, to warn of masked ones.)

    Attributes:
        norm: 2, `"inf"` or `math.inf`.
        eps: Radius of the ball in pixel units of [0, 1]. A call may give one for each
            image instead.
        queries: Answers of the model that the search may use for each image, at
            least 1. The paper has 10,000, AutoAttack 5,000.
        p_init: Share of the pixels in the first squares, in (0, 1]. The paper has 0.05
            to 0.1 for plain networks, 0.3 to 0.8 for robust ones.
        early_stop: Leave an image alone once it is fooled, which saves its queries.
            `False` goes on to the highest score.
        seed: Of the draws, in [0, 2**31).

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> images = tf.fill([1, 4, 4, 1], 0.5)
        >>> def model(x):  # rounding leaves it without a gradient
        ...     total = tf.reduce_sum(tf.round(x * 64.0) / 64.0, axis=[1, 2, 3])
        ...     return tf.stack([total, 15.0 - total], axis=-1)
        >>> result = Square(norm="inf", eps=0.1)(model, images, tf.constant([0]))
        >>> bool(result.success[0]), bool(result.distortion[0] <= 0.1 + 1e-6)
        (True, True)
    """

    queries: int = 1000
    p_init: float = 0.8
    early_stop: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        require(self.norm in (2, "inf", math.inf), "norm", self.norm, '2 or "inf"')
        super().__post_init__()
        require_steps("queries", self.queries)
        require(0 < self.p_init <= 1, "p_init", self.p_init, "above 0 and at most 1")
        require(0 <= self.seed < 2**31, "seed", self.seed, "in [0, 2**31)")

    def score(self, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
        """The margin; with targets the log-odds, which order as the cross-entropy."""
        return goal.log_odds(logits) if goal.targeted else goal.margin(logits)

    def run(self, problem: Problem) -> tf.Tensor:
        """Propose, ask, and keep what is better, until the budget is spent."""
        kind = _Bumps if self.norm == 2 else _Squares
        moves = kind(self, problem)
        rows = tf.shape(problem.images)[:1]
        state = _State(
            queries=tf.constant(0),
            proposal=tf.ensure_shape(moves.start(), problem.images.shape),
            best=problem.images,
            score=tf.fill(rows, -math.inf),
            reached=tf.zeros(rows, tf.bool),
        )

        def is_needed(state: _State) -> tf.Tensor:
            unfinished = tf.reduce_any(self._open(problem, state))
            return unfinished & (state.queries < self.queries)

        def step(state: _State) -> tuple[_State]:
            state = self._ask(problem, state)
            proposal = moves.propose(state.best, state.queries)
            proposal = tf.ensure_shape(proposal, problem.images.shape)
            return (state._replace(proposal=proposal),)

        (last,) = loop(is_needed, step, (state,))
        return last.best

    def _open(self, problem: Problem, state: _State) -> tf.Tensor:
        """The rows that are still worked on, bool `[B]`."""
        return problem.active & ~state.reached if self.early_stop else problem.active

    def _ask(self, problem: Problem, state: _State) -> _State:
        """One query: success first, then the higher score."""
        active = self._open(problem, state)
        logits = problem.logits(state.proposal, active)
        score = self.score(logits, problem.goal)
        reached = problem.goal.reached(logits)
        gained = reached & ~state.reached
        better = gained | ((reached == state.reached) & (score > state.score))
        better &= active
        return _State(
            queries=state.queries + 1,
            proposal=state.proposal,
            best=tf.where(better[:, None, None, None], state.proposal, state.best),
            score=tf.where(better, score, state.score),
            reached=state.reached | (active & reached),
        )


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
    return tf.clip_by_value(tf.cast(tf.round(side), tf.int32), 1, _least(height, width))


def bump(side: tf.Tensor | int, size: tf.Tensor | int) -> tf.Tensor:
    """The pattern that an L2 proposal adds, in the corner of a square of zeros.

    Two rectangles one above the other, `side // 2` rows and the rest, of the same norm
    and opposite sign. In each the value falls off with the distance d from its centre,
    in the maximum norm: `sum over k from d to side // 2 of 1 / (k + 1)^2`. L2 norm 1
    in all.

    Args:
        side: int32 scalar, rows and columns of the pattern.
        size: Rows and columns of the result, at least `side`.

    Returns:
        float32 `[size, size]`, zero outside of the first `side` rows and columns.

    Reference: Andriushchenko et al. 2020, equation 2, and their program for centres.

    Example:
        >>> tf.cast(tf.round(100.0 * bump(3, 3)), tf.int32).numpy().tolist()
        [[14, 68, 14], [-13, -13, -13], [-13, -65, -13]]
    """
    row, column = tf.range(size)[:, None], tf.range(size)[None, :]
    half = side // 2
    upper = row < half
    # Where the rectangle begins and how many rows it has.
    start = tf.where(upper, 0, half)
    rows = tf.where(upper, half, side - half)
    apart = tf.maximum(tf.abs(row - start - rows // 2), tf.abs(column - half))
    terms = 1.0 / tf.square(tf.range(1.0, tf.cast(size, tf.float32) + 1.0))
    sums = tf.concat([[0.0], tf.cumsum(terms)], axis=0)
    height = tf.gather(sums, half + 1) - tf.gather(sums, tf.minimum(apart, half + 1))
    inside = (row < side) & (column < side)
    above = _unit(tf.where(inside & upper, height, 0.0), [0, 1])
    below = _unit(tf.where(inside & ~upper, height, 0.0), [0, 1])
    return _unit(above - below, [0, 1])


class _Moves(abc.ABC):
    """Where a search starts, and what it tries next."""

    def __init__(self, attack: Square, problem: Problem) -> None:
        self._attack, self._problem = attack, problem
        self._images = problem.images
        self._eps = tf.reshape(problem.eps, [-1, 1, 1, 1])
        self._keys = _keys_of(seeds_of(problem.images, attack.seed))
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
        attack, size = self._attack, (self._height, self._width)
        return side_at(query - 1, attack.queries, attack.p_init, *size)

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
        top = _below(corner[:, 0], self._height - side + 1)
        left = _below(corner[:, 1], self._width - side + 1)
        row = (self._rows - top[:, None])[:, :, None]
        column = (self._columns - left[:, None])[:, None, :]
        inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
        return row, column, inside[..., None]


class _Squares(_Moves):
    """L-infinity: squares of one colour at the edge of the ball (algorithm 2)."""

    def start(self) -> tf.Tensor:
        """Vertical stripes."""
        signs = _signs(_draws(self._keys, 0, self._width * self._channels))
        return self._at(tf.reshape(signs, [-1, 1, self._width, self._channels]))

    def propose(self, point: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
        """One square in one sign for each channel, or in the opposite ones."""
        draws = _draws(self._keys, query, 2 + self._channels)
        *_, inside = self._offsets(self._side(query), draws[:, :2])
        signs = _signs(draws[:, 2:])[:, None, None, :]
        moved = tf.where(inside, self._at(signs), point)
        still = tf.reduce_all(moved == point, axis=[1, 2, 3], keepdims=True)
        return tf.where(still & inside, self._at(-signs), moved)

    def _at(self, signs: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(self._images + self._eps * signs, 0.0, 1.0)


class _Bumps(_Moves):
    """L2: a square gives its norm to another, which gets a bump (algorithm 3)."""

    def start(self) -> tf.Tensor:
        """A grid of bumps, each turned and signed at random."""
        least = _least(self._height, self._width)
        side = tf.maximum(least // _GRID, 1)
        row, down = _tiles(self._rows, side)
        column, across = _tiles(self._columns, side)
        tile = tf.where(
            (down[:, None] < 0) | (across[None, :] < 0),
            -1,
            down[:, None] * self._width + across[None, :],
        )
        # More draws than tiles: their number must be known under XLA.
        count = self._height * self._width
        draws = _draws(self._keys, 0, count * (1 + self._channels))
        shape = [-1, count, 1 + self._channels]
        chosen = tf.gather(tf.reshape(draws, shape), tf.maximum(tile, 0), axis=1)
        shapes = self._placed(side, row[None, :, None], column[None, None, :], chosen)
        delta = tf.where(tile[None, :, :, None] >= 0, shapes, 0.0)
        return self._within(self._eps * _unit(delta, [1, 2, 3]))

    def propose(self, point: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
        """The second square is cleared, the first takes its norm."""
        draws = _draws(self._keys, query, 5 + self._channels)
        side = self._odd(self._side(query))
        row, column, inside = self._offsets(side, draws[:, :2])
        *_, cleared = self._offsets(side, draws[:, 2:4])
        delta = point - self._images
        added = self._placed(side, row, column, draws[:, None, None, 4:])
        added = tf.where(inside, added, 0.0)
        kept = _unit(tf.where(inside, delta, 0.0), [1, 2])
        norms = self._available(delta, inside | cleared)
        mixed = added + kept
        # Opposite bumps cancel, but for what rounding leaves, which is no direction.
        mixed = tf.where(_total(tf.square(mixed), [1, 2]) > _CANCELS, mixed, added)
        delta = tf.where(cleared, 0.0, delta)
        return self._within(tf.where(inside, norms * _unit(mixed, [1, 2]), delta))

    def _available(self, delta: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
        """The norm that each channel of the squares may have, `[B, 1, 1, C]`."""
        squares = tf.square(delta)
        unused = tf.square(self._eps) - _total(squares, [1, 2, 3])
        share = tf.maximum(unused, 0.0) / tf.cast(self._channels, tf.float32)
        return tf.sqrt(_total(tf.where(inside, squares, 0.0), [1, 2]) + share)

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
        size = _least(self._height, self._width)
        row = tf.clip_by_value(row, 0, size - 1)
        column = tf.clip_by_value(column, 0, size - 1)
        turned = _signs(draws[..., 0]) > 0.0
        place = tf.where(turned, column * size + row, row * size + column)
        value = tf.gather(tf.reshape(bump(side, size), [-1]), place)
        return value[..., None] * _signs(draws[..., 1:])

    def _odd(self, side: tf.Tensor) -> tf.Tensor:
        """At least 3 and odd, so that there is a centre; less if less fits."""
        most = _least(self._height, self._width)
        return tf.minimum(tf.maximum(side, 3) // 2 * 2 + 1, (most - 1) // 2 * 2 + 1)

    def _within(self, delta: tf.Tensor) -> tf.Tensor:
        moved = self._images + delta
        return self._attack.threat.project(self._images, moved, self._problem.eps)


def _tiles(position: tf.Tensor, side: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where in its tile each position is, and in which, -1 for those in none, `[N]`."""
    length = tf.shape(position)[0]
    count = length // side
    inner = position - (length - count * side) // 2
    tile = inner // side
    return inner % side, tf.where((tile >= 0) & (tile < count), tile, -1)


def _least(height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor | int:
    if isinstance(height, int) and isinstance(width, int):
        return min(height, width)
    return tf.minimum(height, width)


def _total(values: tf.Tensor, axes: list[int]) -> tf.Tensor:
    return tf.reduce_sum(values, axis=axes, keepdims=True)


def _unit(values: tf.Tensor, axes: list[int]) -> tf.Tensor:
    """Over its L2 norm along some axes; 0 where that is 0."""
    return tf.math.divide_no_nan(values, tf.sqrt(_total(tf.square(values), axes)))


# Random numbers. TensorFlow's differ under XLA, and one seed for each row would take a
# loop over the batch in every step. These are products of integers: bit for bit the
# same everywhere, and in any batch.


def _keys_of(seeds: tf.Tensor) -> tf.Tensor:
    """Seeds int64 `[B, 2]` as 31-bit words, int64 `[B]`."""
    key = tf.zeros_like(seeds[:, 0])
    for half in (seeds[:, 0], seeds[:, 1]):
        key = _stirred(key + half % 2**31)
        key = _stirred(key + half // 2**31 % 2**31)
    return key


def _draws(
    keys: tf.Tensor, query: tf.Tensor | int, count: tf.Tensor | int
) -> tf.Tensor:
    """31-bit integers of one query, as good as uniform, int64 `[B, count]`."""
    key = _stirred(keys + tf.cast(query, tf.int64))
    return _stirred(_stirred(key[:, None] + tf.range(tf.cast(count, tf.int64))))


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


def _below(draws: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Draws as integers in [0, limit), int32."""
    return tf.cast(draws * tf.cast(limit, tf.int64) // 2**31, tf.int32)


def _signs(draws: tf.Tensor) -> tf.Tensor:
    """Draws as 1.0 or -1.0."""
    return tf.where(draws < 2**30, 1.0, -1.0)
