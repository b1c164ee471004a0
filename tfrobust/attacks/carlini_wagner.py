"""The attack of Carlini and Wagner in the L2 norm."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import tensorflow as tf

from tfrobust.attacks.base import MinimumNorm
from tfrobust.attacks.problem import Problem
from tfrobust.attacks.registry import register
from tfrobust.attacks.spaces import Clipped, Space, Tanh
from tfrobust.core.loops import loop
from tfrobust.settings import (
    require,
    require_not_negative,
    require_positive,
    require_steps,
)

SPACES = ("tanh", "clip")

# Progress below this share of the objective is none.
_STALLED = 1e-4
# A search that shortens the squared distance by less than this share is idle.
_IDLE = 2e-3
_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8


class _State(NamedTuple):
    """Where each image stands in its own search; all rows `[B]` or `[B,H,W,C]`.

    Every image has its own count of steps and searches: one that stalls goes on to its
    next trade-off at once, and none waits for another.
    """

    search: tf.Tensor  # int32, searches finished
    step: tf.Tensor  # int32, steps in this search
    variable: tf.Tensor  # what Adam moves
    carry: Any  # what the space remembers
    mean: tf.Tensor  # Adam's first moment
    square: tf.Tensor  # Adam's second moment
    constant: tf.Tensor  # the trade-off c of this search
    lower: tf.Tensor  # largest c that failed
    upper: tf.Tensor  # smallest c that succeeded
    succeeded: tf.Tensor  # bool, whether this search has succeeded
    idle: tf.Tensor  # int32, searches in a row that gained nothing
    earlier: tf.Tensor  # squared distance of the best when this search began
    mark: tf.Tensor  # objective when progress was last looked at
    best: tf.Tensor  # least distorted success, or the image
    place: tf.Tensor  # the variable that stands for it
    distance: tf.Tensor  # its squared distance, or infinity


@register("cw", title="C&W")
@dataclasses.dataclass(frozen=True, kw_only=True)
class CarliniWagnerL2(MinimumNorm):
    """Minimises distortion plus c times how far the goal is missed, and searches c.

    `||x' - x||^2 + c * max(confidence - margin(x'), 0)` by Adam, where the margin is
    the lead of the best goal class. For each image, c is halved in an interval: down
    after a search that succeeded, up after one that did not. The least distorted
    success over everything visited is kept.

    Differs from the authors' program in: each image has its own pace (see
    `early_abort`), every search but the first starts from the least distorted success
    so far instead of the image, and pixels may be moved in the clipped images
    themselves (`space="clip"`).

    Costs at most `search_steps * steps` gradients, and no gradients of images that are
    done.

    Attributes:
        steps: Adam steps in a search.
        search_steps: Searches, one for each value of c.
        initial_const: The first c.
        learning_rate: Of Adam, in the units of the space.
        confidence: Margin of the logits to reach, at least 0.
        space: `"clip"`: Adam moves the pixels and [0, 1] is enforced by clipping, so
            that pixels of exactly 0 or 1, as most of MNIST's, move as others do.
            `"tanh"`: the paper's change of variable `x' = (tanh(w) + 1) / 2`.
        early_abort: End an image's search when a tenth of its steps has not lowered the
            objective.
        warm_start: Begin searches where the least distorted success is.
        decay: Let the rate fall within a search, to a hundredth. `False`: it stays as
            it is, as in the authors' program.
        rounding: Ask the network about images rounded to 8 bits, whose gradient is
            taken for that of the point itself. A success is then one after saving the
            image as well; without it the result ends near the boundary, from where
            rounding often takes it back.

    Raises:
        ValueError: If a setting is out of range.

    Reference: Carlini and Wagner 2017, https://arxiv.org/abs/1608.04644, section V;
    Zhang et al. 2020 (Smooth Adversarial Examples), equation 13, for the clipped space.
    Its equation 4, of a sigmoid, is tanh space at half the learning rate.

    Example:
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.9 - total], axis=-1)
        >>> result = CarliniWagnerL2(steps=50)(model, images, tf.constant([0]))
        >>> round(float(result.distortion[0]), 2)  # 0.025 is the exact distance
        0.03
    """

    steps: int = 100
    search_steps: int = 9
    initial_const: float = 10.0
    learning_rate: float = 0.05
    confidence: float = 0.0
    space: str = "clip"
    early_abort: bool = True
    warm_start: bool = True
    decay: bool = True
    rounding: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_steps("steps", self.steps)
        require_steps("search_steps", self.search_steps)
        require_positive("initial_const", self.initial_const)
        require_positive("learning_rate", self.learning_rate)
        require_not_negative("confidence", self.confidence)
        require(self.space in SPACES, "space", self.space, f"one of {SPACES}")

    def run(self, problem: Problem) -> tf.Tensor:
        """Let every image search at its own pace until all are through."""
        space = self._space(problem)

        def is_needed(state: _State) -> tf.Tensor:
            return tf.reduce_any(self._active(problem, state))

        def advance(state: _State) -> tuple[_State]:
            return (self._advance(problem, space, state),)

        (last,) = loop(is_needed, advance, (self._start(problem, space),))
        return last.best

    def _space(self, problem: Problem) -> Space:
        """What is moved in place of the image."""
        return Clipped() if self.space == "clip" else Tanh()

    def _active(self, problem: Problem, state: _State) -> tf.Tensor:
        return problem.active & (state.search < self.search_steps)

    def _start(self, problem: Problem, space: Space) -> _State:
        images = problem.images
        rows = tf.shape(images)[:1]
        variable, carry = space.start(images)
        return _State(
            search=tf.zeros(rows, tf.int32),
            step=tf.zeros(rows, tf.int32),
            variable=variable,
            carry=carry,
            mean=tf.zeros_like(variable),
            square=tf.zeros_like(variable),
            constant=tf.fill(rows, float(self.initial_const)),
            lower=tf.zeros(rows),
            upper=tf.fill(rows, math.inf),
            succeeded=tf.zeros(rows, tf.bool),
            idle=tf.zeros(rows, tf.int32),
            earlier=tf.fill(rows, math.inf),
            mark=tf.fill(rows, math.inf),
            best=images,
            place=variable,
            distance=tf.fill(rows, math.inf),
        )

    def _advance(self, problem: Problem, space: Space, state: _State) -> _State:
        """One gradient for each active image, and whatever follows from it."""
        active = self._active(problem, state)
        point, carry = space.to_image(state.variable, state.carry)
        if self.rounding:
            point = tf.round(point * 255.0) / 255.0
        slope, logits = problem.gradient(point, self.score, active)
        delta = point - problem.images
        distance = tf.reduce_sum(tf.square(delta), axis=[1, 2, 3])
        margin = problem.goal.margin(logits)
        missed = tf.maximum(self.confidence - margin, 0.0)
        reached = problem.goal.reached(logits) & (margin >= self.confidence) & active
        state = _keep_best(state, point, distance, reached)
        fresh = state.step % max(1, self.steps // 10) == 1
        state = state._replace(succeeded=reached | (state.succeeded & ~fresh))
        weight = tf.where(missed > 0.0, state.constant, 0.0)
        # Solves and moments would carry a NaN on, from here to other pixels and steps.
        slope = tf.where(tf.math.is_finite(slope), -_wide(weight) * slope, 0.0)
        objective = space.distortion(delta, carry) + state.constant * missed
        gradient, carry = space.to_gradient(state.variable, delta, slope, carry)
        state = self._descend(space, state, gradient, active)
        return self._turn(
            space, problem, state._replace(carry=carry), objective, active
        )

    def _descend(
        self, space: Space, state: _State, gradient: tf.Tensor, active: tf.Tensor
    ) -> _State:
        """One step of Adam, counted for each image by itself."""
        mean = _BETA1 * state.mean + (1 - _BETA1) * gradient
        square = _BETA2 * state.square + (1 - _BETA2) * tf.square(gradient)
        count = tf.cast(state.step + 1, tf.float32)
        scale = tf.sqrt(1.0 - _BETA2**count) / (1.0 - _BETA1**count)
        rate = self.learning_rate * self._decay(state) * scale
        moved = state.variable - _wide(rate) * mean / (tf.sqrt(square) + _TINY)
        moved = space.limit(moved)
        return state._replace(
            step=state.step + tf.cast(active, tf.int32),
            variable=tf.where(_wide(active), moved, state.variable),
            mean=tf.where(_wide(active), mean, state.mean),
            square=tf.where(_wide(active), square, state.square),
        )

    def _decay(self, state: _State) -> tf.Tensor:
        """Half a cosine from 1 to 1/100 over a search, halved with each warm start.

        1 and not a cosine without `decay`.

        At full rate the first step of Adam moves every pixel by the rate, much farther
        than what a search near the boundary is looking for.
        """
        part = tf.cast(state.step, tf.float32) / self.steps
        rate = 0.01 + 0.99 * 0.5 * (1.0 + tf.cos(math.pi * part))
        if not self.decay:
            rate = tf.ones_like(part)
        if not self.warm_start:
            return rate
        return rate * tf.pow(0.5, tf.cast(state.search, tf.float32))

    def _turn(
        self,
        space: Space,
        problem: Problem,
        state: _State,
        objective: tf.Tensor,
        active: tf.Tensor,
    ) -> _State:
        """Ends searches that are through or stalled, and sets up their next one."""
        look = active & (state.step % max(1, self.steps // 10) == 0)
        stalled = look & (objective > (1.0 - _STALLED) * state.mark)
        mark = tf.where(look, objective, state.mark)
        over = active & (state.step >= self.steps)
        if self.early_abort:
            over |= stalled
        gained = state.distance < (1.0 - _IDLE) * state.earlier
        idle = tf.where(over, tf.where(gained, 0, state.idle + 1), state.idle)
        upper = tf.where(
            over & state.succeeded, tf.minimum(state.upper, state.constant), state.upper
        )
        lower = tf.where(
            over & ~state.succeeded,
            tf.maximum(state.lower, state.constant),
            state.lower,
        )
        between = tf.sqrt(lower * upper)
        between = tf.where(tf.math.is_finite(upper), between, 10.0 * state.constant)
        between = tf.where(lower > 0.0, between, 0.1 * state.constant)
        search = state.search + tf.cast(over, tf.int32)
        if self.early_abort:
            through = (idle >= 2) & tf.math.is_finite(state.distance)
            search = tf.where(through, self.search_steps, search)
        again, carry = state.place, state.carry
        if not self.warm_start:
            again, first = space.start(problem.images)
            carry = tf.nest.map_structure(
                lambda new, old: tf.where(_wide(over), new, old), first, carry
            )
        return state._replace(
            search=search,
            idle=idle,
            earlier=tf.where(over, state.distance, state.earlier),
            step=tf.where(over, 0, state.step),
            variable=tf.where(_wide(over), again, state.variable),
            carry=carry,
            mean=tf.where(_wide(over), 0.0, state.mean),
            square=tf.where(_wide(over), 0.0, state.square),
            constant=tf.where(over, between, state.constant),
            lower=lower,
            upper=upper,
            succeeded=state.succeeded & ~over,
            mark=tf.where(over, math.inf, mark),
        )


def _keep_best(
    state: _State, point: tf.Tensor, distance: tf.Tensor, reached: tf.Tensor
) -> _State:
    better = reached & (distance < state.distance)
    return state._replace(
        best=tf.where(_wide(better), point, state.best),
        place=tf.where(_wide(better), state.variable, state.place),
        distance=tf.where(better, distance, state.distance),
    )


def _wide(rows: tf.Tensor) -> tf.Tensor:
    """`[B]` as `[B, 1, 1, 1]`."""
    return rows[:, None, None, None]
