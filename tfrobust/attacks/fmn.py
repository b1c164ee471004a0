"""A fast minimum-norm attack in any norm: steps in a ball that follows the boundary."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import tensorflow as tf

from tfrobust.attacks.base import MinimumNorm
from tfrobust.attacks.constraints import L1, L2, Linf
from tfrobust.attacks.problem import Problem, inward
from tfrobust.attacks.registry import register
from tfrobust.core.loops import loop
from tfrobust.core.vectors import spread, zero_where_not_finite
from tfrobust.settings import require, require_positive, require_steps

_LEAST_STEP = 0.01  # share of the first step that is left at the end
_LEAST_GAMMA = 0.02  # share of the first change of the radius that is left at the end


class _State(NamedTuple):
    """The search of each image; rows `[B]` or `[B,H,W,C]`."""

    number: tf.Tensor  # int32 scalar, steps taken
    point: tf.Tensor
    eps: tf.Tensor  # radius of the ball
    best: tf.Tensor  # least distorted success, or the image
    distance: tf.Tensor  # its distance, or infinity


@register("fmn")
@dataclasses.dataclass(frozen=True, kw_only=True)
class FMN(MinimumNorm):
    """Fast minimum norm."""

    norm: float | str = 1
    steps: int = 100
    step_size: float | None = None
    gamma: float = 0.05

    def __post_init__(self) -> None:
        """Check the settings."""
        allowed = (0, 1, 2, "inf", math.inf)
        require(self.norm in allowed, "norm", self.norm, '0, 1, 2 or "inf"')
        require_steps("steps", self.steps)
        require(0 < self.gamma < 1, "gamma", self.gamma, "between 0 and 1")
        if self.step_size is not None:
            require_positive("step_size", self.step_size)

    def run(self, problem: Problem) -> tf.Tensor:
        """Step, adapt the radius, project, and keep the nearest success."""
        images = problem.images
        rows = tf.shape(images)[:1]
        state = _State(
            number=tf.constant(0),
            point=images,
            eps=tf.fill(rows, 1.0 if self.norm == 0 else math.inf),
            best=images,
            distance=tf.fill(rows, math.inf),
        )

        def is_needed(state: _State) -> tf.Tensor:
            return (state.number < self.steps) & tf.reduce_any(problem.active)

        def step(state: _State) -> tuple[_State]:
            return (self._step(problem, state),)

        (last,) = loop(is_needed, step, (state,))
        last = self._judged(problem, last, problem.logits(last.point, problem.active))
        succeeded = tf.math.is_finite(last.distance)
        return tf.where(spread(succeeded, images), last.best, last.point)

    def _judged(self, problem: Problem, state: _State, logits: tf.Tensor) -> _State:
        distance = self.threat.distance(problem.images, state.point)
        better = problem.goal.reached(logits) & (distance < state.distance)
        return state._replace(
            best=tf.where(spread(better, state.point), state.point, state.best),
            distance=tf.where(better, distance, state.distance),
        )

    def _step(self, problem: Problem, state: _State) -> _State:
        point, images = state.point, problem.images
        gradient, logits = problem.gradient(point, self.score, problem.active)
        gradient = zero_where_not_finite(gradient)
        found = tf.math.is_finite(state.distance)
        state = self._judged(problem, state, logits)
        reached = problem.goal.reached(logits)
        gamma = self.gamma * self._decay(state.number, _LEAST_GAMMA)
        if self.norm == 0:
            smaller = tf.minimum(state.eps - 1.0, tf.floor(state.eps * (1.0 - gamma)))
            larger = tf.maximum(state.eps + 1.0, tf.floor(state.eps * (1.0 + gamma)))
        else:
            dual = {1: Linf(), 2: L2()}.get(self.norm, L1())
            margin = problem.goal.margin(logits)
            ahead = tf.math.divide_no_nan(tf.abs(margin), dual.distance(gradient))
            here = self.threat.distance(images, point)
            smaller = state.eps * (1.0 - gamma)
            larger = tf.where(found, state.eps * (1.0 + gamma), here + ahead)
        smaller = tf.minimum(smaller, state.distance)
        eps = tf.where(reached, smaller, larger)
        eps = tf.clip_by_value(eps, 0.0, 1e6)
        default = 1.0 if self.norm in (0, 1, 2) else 10.0
        first = default if self.step_size is None else self.step_size
        size = first * self._decay(state.number, _LEAST_STEP)
        moved = point + size * L2().normalize(inward(gradient, point))
        moved = self.threat.project(images, moved, eps)
        return state._replace(number=state.number + 1, point=moved, eps=eps)

    def _decay(self, number: tf.Tensor, least: float) -> tf.Tensor:
        """Half a cosine over the search, from 1 to `least`."""
        part = tf.cast(number, tf.float32) / self.steps
        return least + (1.0 - least) * 0.5 * (1.0 + tf.cos(math.pi * part))
