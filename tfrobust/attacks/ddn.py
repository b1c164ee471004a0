"""A fast minimal-norm attack: direction and norm decoupled."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import tensorflow as tf

from tfrobust.attacks.base import MinimumNorm
from tfrobust.attacks.constraints import L2
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.problem import Problem, inward, steps_of
from tfrobust.attacks.registry import register
from tfrobust.settings import require, require_positive, require_steps

_LEAST_STEP = 0.01  # share of the first step that is left at the end
_LEAST_GAMMA = 0.1  # share of the first change of the norm that is left at the end


class _State(NamedTuple):
    """The search of each image; rows `[B]` or `[B,H,W,C]`."""

    number: tf.Tensor  # int32 scalar, steps taken
    point: tf.Tensor
    eps: tf.Tensor  # norm the perturbation is set to
    best: tf.Tensor  # least distorted success, or the image
    distance: tf.Tensor  # its distance, or infinity


@register("ddn")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DDN(MinimumNorm):
    """Decoupled direction and norm: looks for the smallest perturbation in few steps.

    Each step moves the perturbation along the normalised gradient, then sets its norm
    to eps, which shrinks by a factor `1 - gamma` where the image fools the model and
    grows by `1 + gamma` where it does not: the search runs along the boundary. The
    least distorted success visited is kept.

    Differs from the paper: what is climbed is the log-odds, which do not saturate;
    gradients that push saturated pixels outwards are left out; gamma falls to a tenth
    over the search, which ends nearer to the boundary; and L-infinity works too (step
    along the sign, norm set by clipping).

    Costs `steps` gradients.

    Attributes:
        norm: 2, `"inf"` or `math.inf`.
        steps: Gradient steps.
        init_eps: First norm, in pixel units; `None` for 1 (L2) or 0.1 (L-infinity).
        step_size: First step, in pixel units, falling to a hundredth by half a cosine;
            `None` for `init_eps`.
        gamma: First relative change of the norm, in (0, 1).
        rounding: Round every point to 8 bits. A success is then one after saving the
            image as well, at next to no cost in distortion; without it the result ends
            on the boundary itself, from where rounding often takes it back.

    Raises:
        ValueError: If a setting is out of range.

    Reference: Rony et al. 2019, https://arxiv.org/abs/1811.09600, algorithm 1.

    Example:
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.9 - total], axis=-1)
        >>> result = DDN()(model, images, tf.constant([0]))
        >>> round(float(result.distortion[0]), 3)  # 0.025 is the exact distance
        0.025
    """

    norm: float | str = 2
    steps: int = 100
    init_eps: float | None = None
    step_size: float | None = None
    gamma: float = 0.1
    rounding: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require(self.norm in (2, "inf", math.inf), "norm", self.norm, '2 or "inf"')
        require_steps("steps", self.steps)
        require(0 < self.gamma < 1, "gamma", self.gamma, "between 0 and 1")
        for name in ("init_eps", "step_size"):
            value = getattr(self, name)
            if value is not None:
                require_positive(name, value)

    def score(self, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
        """The log-odds, float32 `[B]`."""
        return goal.log_odds(logits)

    def run(self, problem: Problem) -> tf.Tensor:
        """Follow the boundary and keep the nearest success."""
        images = problem.images
        rows = tf.shape(images)[:1]
        state = _State(
            number=tf.constant(0),
            point=images,
            eps=tf.fill(rows, float(self._init_eps)),
            best=images,
            distance=tf.fill(rows, math.inf),
        )
        last: _State = steps_of(problem, self.steps, self._step, state)
        succeeded = tf.math.is_finite(last.distance)
        return tf.where(succeeded[:, None, None, None], last.best, last.point)

    @property
    def _init_eps(self) -> float:
        default = 1.0 if self.norm == 2 else 0.1
        return default if self.init_eps is None else self.init_eps

    def _step(self, problem: Problem, state: _State) -> _State:
        point, images = state.point, problem.images
        gradient, logits = problem.gradient(point, self.score, problem.active)
        reached = problem.goal.reached(logits)
        distance = self.threat.distance(images, point)
        better = reached & (distance < state.distance)
        # The first gradient is that of the image itself, at norm 0.
        gamma = self.gamma * self._decay(state.number, _LEAST_GAMMA)
        gamma = tf.where(state.number == 0, 0.0, gamma)
        eps = state.eps * tf.where(reached, 1.0 - gamma, 1.0 + gamma)
        first = self._init_eps if self.step_size is None else self.step_size
        size = first * self._decay(state.number, _LEAST_STEP)
        direction = self.constraint.normalize(inward(gradient, point))
        moved = point + size * direction - images
        moved = tf.clip_by_value(images + self._resize(moved, eps), 0.0, 1.0)
        if self.rounding:
            moved = tf.round(moved * 255.0) / 255.0
        return _State(
            number=state.number + 1,
            point=moved,
            eps=eps,
            best=tf.where(better[:, None, None, None], point, state.best),
            distance=tf.where(better, distance, state.distance),
        )

    def _decay(self, number: tf.Tensor, least: float) -> tf.Tensor:
        """Half a cosine over the search, from 1 to `least`."""
        part = tf.cast(number, tf.float32) / self.steps
        return least + (1.0 - least) * 0.5 * (1.0 + tf.cos(math.pi * part))

    def _resize(self, delta: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        """The perturbation at norm eps (L2), or clipped to it (L-infinity)."""
        eps = eps[:, None, None, None]
        if self.norm != 2:
            return tf.clip_by_value(delta, -eps, eps)
        return eps * L2().normalize(delta)
