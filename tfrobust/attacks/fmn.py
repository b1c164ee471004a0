"""A fast minimum-norm attack: steps in a ball that follows the boundary."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import tensorflow as tf

from tfrobust.attacks.base import MinimumNorm
from tfrobust.attacks.constraints import L1, L2, Constraint, Linf
from tfrobust.attacks.problem import Problem, inward, steps_of
from tfrobust.attacks.registry import register
from tfrobust.core.vectors import spread, zero_where_not_finite
from tfrobust.settings import require, require_positive, require_steps

# Shares of the first step, and of the first change of the radius, left at the end.
_LEAST_STEP = 0.01
_LEAST_GAMMA = 0.02
# A radius beyond which nothing changes: no two images are so far apart.
_FAR = 1e6


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
    """The fast minimum-norm attack: looks for the smallest perturbation in few steps.

    Each step goes along the gradient of the margin, of a length that falls by a cosine,
    and is projected on a ball around the image. Its radius grows until the boundary is
    crossed, by where the boundary would be if the network were linear; from then on it
    shrinks by a factor `1 - gamma` where the image fools the model, to no more than the
    smallest distance so far, and grows by `1 + gamma` where it does not.

    Like `DDN` it runs along the boundary; it knows L1 too, for a gradient a step, where
    `FAB` has one for each class and step. The paper's L0 is left to `SigmaZero`.

    Differs from the paper: until the boundary is crossed the radius goes `gamma` beyond
    where it seems to be; gradients that push saturated pixels outwards are left out;
    and in L-infinity the first step is 10, as in the authors' experiments.

    Costs `steps` gradients.

    Attributes:
        norm: 1, 2, `"inf"` or `math.inf`.
        steps: Gradient steps.
        step_size: First step in L2, in pixel units, falling to a hundredth; `None` for
            1, or 10 in L-infinity.
        gamma: First relative change of the radius, in (0, 1), falling to a fiftieth.

    Raises:
        ValueError: If a setting is out of range.

    Reference: Pintor et al. 2021, https://arxiv.org/abs/2102.12827, algorithm 1.

    Example:
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.9 - total], axis=-1)
        >>> result = FMN(norm=1)(model, images, tf.constant([0]))
        >>> round(float(result.distortion[0]), 2)  # 0.05 is the exact distance
        0.05
    """

    norm: float | str = 1
    steps: int = 100
    step_size: float | None = None
    gamma: float = 0.05

    def __post_init__(self) -> None:
        """Check the settings."""
        allowed = (1, 2, "inf", math.inf)
        require(self.norm in allowed, "norm", self.norm, '1, 2 or "inf"')
        require_steps("steps", self.steps)
        require(0 < self.gamma < 1, "gamma", self.gamma, "between 0 and 1")
        if self.step_size is not None:
            require_positive("step_size", self.step_size)

    def run(self, problem: Problem) -> tuple[tf.Tensor, tf.Tensor]:
        """Step, change the radius, project, and keep the nearest success."""
        images = problem.images
        rows = tf.shape(images)[:1]
        state = _State(
            number=tf.constant(0),
            point=images,
            eps=tf.fill(rows, math.inf),
            best=images,
            distance=tf.fill(rows, math.inf),
        )
        last: _State = steps_of(problem, self.steps, self._step, state)
        last = self._kept(problem, last, problem.logits(last.point, problem.active))
        succeeded = spread(tf.math.is_finite(last.distance), images)
        asked = tf.where(problem.active, self.steps + 1, 0)
        return tf.where(succeeded, last.best, last.point), asked

    def _kept(self, problem: Problem, state: _State, logits: tf.Tensor) -> _State:
        """With the point kept where it is the nearest success."""
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
        crossed = tf.math.is_finite(state.distance)
        state = self._kept(problem, state, logits)
        eps = self._radius(problem, state, gradient, logits, crossed)
        eps = tf.clip_by_value(eps, 0.0, _FAR)
        size = self._first * self._decay(state.number, _LEAST_STEP)
        moved = point + size * L2().normalize(inward(gradient, point))
        moved = self.threat.project(images, moved, eps)
        return state._replace(number=state.number + 1, point=moved, eps=eps)

    def _radius(
        self,
        problem: Problem,
        state: _State,
        gradient: tf.Tensor,
        logits: tf.Tensor,
        crossed: tf.Tensor,
    ) -> tf.Tensor:
        """The radius of the next ball, float32 `[B]`."""
        gamma = self.gamma * self._decay(state.number, _LEAST_GAMMA)
        lead = tf.abs(problem.goal.margin(logits))
        ahead = tf.math.divide_no_nan(lead, self._dual.distance(gradient))
        linear = self.threat.distance(problem.images, state.point) + ahead
        # A little beyond, or the search of a linear network ends on the boundary.
        larger = tf.where(crossed, state.eps, linear) * (1.0 + gamma)
        smaller = tf.minimum(state.eps * (1.0 - gamma), state.distance)
        return tf.where(problem.goal.reached(logits), smaller, larger)

    @property
    def _first(self) -> float:
        default = 1.0 if self.norm in (1, 2) else 10.0
        return default if self.step_size is None else self.step_size

    @property
    def _dual(self) -> Constraint:
        """The norm in which a gradient says how far a linear boundary is."""
        duals: dict[float | str, Constraint] = {1: Linf(), 2: L2()}
        return duals.get(self.norm, L1())

    def _decay(self, number: tf.Tensor, least: float) -> tf.Tensor:
        """Half a cosine over the search, from 1 to `least`."""
        part = tf.cast(number, tf.float32) / self.steps
        return least + (1.0 - least) * 0.5 * (1.0 + tf.cos(math.pi * part))
