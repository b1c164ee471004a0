"""Random search with squares, an attack that asks for no gradient."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, NamedTuple

import tensorflow as tf

from tfrobust.attacks.base import FixedBudget
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.problem import Problem
from tfrobust.attacks.registry import register
from tfrobust.attacks.square_bumps import Bumps, SharpBumps
from tfrobust.attacks.square_moves import Moves, Squares
from tfrobust.core.loops import loop
from tfrobust.settings import require, require_seed, require_steps


class _State(NamedTuple):
    """The search of each image; rows `[B]` or `[B,H,W,C]`."""

    queries: tf.Tensor  # int32 scalar, queries spent by the rows that are not done
    asked: tf.Tensor  # int32, queries spent by each row
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
    shrink as the search goes on. They cover a share `p_init` of the pixels first, which
    is halved after 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 % of the queries.

    - L-infinity (algorithm 2): it starts from vertical stripes of `eps` or `-eps`. A
      proposal sets a square to one of the two, drawn for each channel. Where that would
      change nothing, the opposite is taken.
    - L2 (algorithm 3): it starts from a grid of bumps. A proposal clears one square and
      gives its norm, with what clipping to [0, 1] left unused, to another, in which it
      adds a bump to what was there: two rectangles of opposite sign, each of which
      falls off from its centre.
    - L1 (Croce and Hein 2021, https://arxiv.org/abs/2103.01208): as in L2, with
      narrower bumps, norms that are sums, and a projection on ball and box at the end.

    Squares fall anywhere in the image, as in the paper; the paper's own program never
    reaches the last row and column. The draws depend on the image and `seed` alone, not
    on the batch around it, and are the same under XLA.

    Costs at most `queries + 3` forward passes for an image and no gradient; the result
    says how many queries of these each image took. (The first attack on a model still
    looks at the model's gradients, to warn of masked ones.)

    Attributes:
        norm: 1, 2, `"inf"` or `math.inf`.
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

    needs_gradient: ClassVar[bool] = False

    queries: int = 1000
    p_init: float = 0.8
    early_stop: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_steps("queries", self.queries)
        require(0 < self.p_init <= 1, "p_init", self.p_init, "above 0 and at most 1")
        require_seed(self.seed)

    def score(self, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
        """The margin; with targets the log-odds, which order as the cross-entropy."""
        return goal.log_odds(logits) if goal.targeted else goal.margin(logits)

    def run(self, problem: Problem) -> tuple[tf.Tensor, tf.Tensor]:
        """Propose, ask, and keep what is better, until the budget is spent."""
        moves = self._moves(problem)
        rows = tf.shape(problem.images)[:1]
        state = _State(
            queries=tf.constant(0),
            asked=tf.zeros(rows, tf.int32),
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
        return last.best, last.asked

    def _moves(self, problem: Problem) -> Moves:
        kinds: dict[float | str, type[Moves]] = {1: SharpBumps, 2: Bumps}
        kind = kinds.get(self.norm, Squares)
        return kind(problem, self.queries, self.p_init, self.seed)

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
            asked=state.asked + tf.cast(active, tf.int32),
            proposal=state.proposal,
            best=tf.where(better[:, None, None, None], state.proposal, state.best),
            score=tf.where(better, score, state.score),
            reached=state.reached | (active & reached),
        )
