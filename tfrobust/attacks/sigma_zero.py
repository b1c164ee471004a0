"""sigma-zero, an attack that looks for the fewest changed entries."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import tensorflow as tf

from tfrobust.attacks.base import MinimumNorm
from tfrobust.attacks.constraints import L0
from tfrobust.attacks.problem import Problem, steps_of
from tfrobust.attacks.registry import register
from tfrobust.core.vectors import (
    by_largest_entry,
    spread,
    zero_where_not_finite,
)
from tfrobust.settings import require, require_positive, require_steps

# Adam's, as published: decays of the two means, and what is added to the root.
_DECAYS = (0.9, 0.999)
_TINY = 1e-8
_LEAST_STEP = 0.1  # share of the first step that is left at the end


class _State(NamedTuple):
    """The search of each image; rows `[B]` or `[B,H,W,C]`."""

    number: tf.Tensor  # int32 scalar, steps taken
    delta: tf.Tensor
    mean: tf.Tensor  # of the gradients, as Adam keeps it
    square: tf.Tensor  # of their squares
    threshold: tf.Tensor  # smaller changes are undone
    best: tf.Tensor  # success with the fewest changes, or the image
    count: tf.Tensor  # of its changes, or infinity


@register("sigma_zero", title="sigma-zero")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmaZero(MinimumNorm):
    """sigma-zero (Cina et al. 2024, https://arxiv.org/abs/2402.01879): fewest changes.

    Looks for an image of another class that differs in as few entries as possible,
    pixels times channels (norm 0). Each step (algorithm 1)

    - follows the gradient of a loss, brought to a largest entry of 1, with Adam: the
      margin where the image does not fool the model yet, and always the smooth count
      `sum_i d_i^2 / (d_i^2 + sigma)` of the changes d over their number (equation 5);
    - undoes changes below a threshold, which grows by `threshold_step` times the
      decaying step where the image fools the model, and falls by as much where not.

    The success with the fewest changes is kept. Adam, and a step that falls to a tenth,
    are those of the paper's own program. An image that is not of 8 bits changes
    everywhere when it is rounded, so that `distortion_rounded` says little of it.

    Costs `steps` gradients.

    Attributes:
        steps: Gradient steps. The paper has 1,000; more find fewer changes.
        step_size: First step, in pixel units, falling to a tenth by half a cosine.
        sigma: Of the smooth count: smaller is nearer to a true one, and flatter.
        threshold: First threshold, in pixel units, in [0, 1].
        threshold_step: Change of the threshold, as a share of the step.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):  # the third pixel counts most
        ...     total = tf.linalg.matvec(tf.reshape(x, [-1, 4]), [1.0, 1.0, 9.0, 1.0])
        ...     return tf.stack([total, 10.0 - total], axis=-1)
        >>> result = SigmaZero()(model, images, tf.constant([0]))
        >>> float(result.distortion[0])
        1.0
        >>> tf.reshape(result.adversarial != images, [-1]).numpy().tolist()
        [False, False, True, False]
    """

    steps: int = 100
    step_size: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    threshold_step: float = 0.01

    def __post_init__(self) -> None:
        """Check the settings."""
        require_steps("steps", self.steps)
        for name in ("step_size", "sigma", "threshold_step"):
            require_positive(name, getattr(self, name))
        holds = 0 <= self.threshold <= 1
        require(holds, "threshold", self.threshold, "in [0, 1]")

    @property
    def norm(self) -> float | str:
        """0: changes are counted, not measured."""
        return 0

    def run(self, problem: Problem) -> tuple[tf.Tensor, tf.Tensor]:
        """Step, undo what is small, and keep the success with the fewest changes."""
        images = problem.images
        zeros = tf.zeros_like(images)
        rows = tf.shape(images)[:1]
        state = _State(
            number=tf.constant(0),
            delta=zeros,
            mean=zeros,
            square=zeros,
            threshold=tf.fill(rows, float(self.threshold)),
            best=images,
            count=tf.fill(rows, math.inf),
        )
        last: _State = steps_of(problem, self.steps, self._step, state)
        last = self._judged(
            problem,
            last,
            problem.logits(self._point(problem, last.delta), problem.active),
        )
        succeeded = tf.math.is_finite(last.count)
        point = self._point(problem, last.delta)
        asked = tf.where(problem.active, self.steps + 1, 0)
        return tf.where(spread(succeeded, point), last.best, point), asked

    def _step(self, problem: Problem, state: _State) -> _State:
        point = self._point(problem, state.delta)
        slope, logits = problem.gradient(point, self.score, problem.active)
        state = self._judged(problem, state, logits)
        reached = problem.goal.reached(logits)
        part = tf.cast(state.number, tf.float32) / self.steps
        decay = _LEAST_STEP + (1.0 - _LEAST_STEP) * 0.5 * (1.0 + tf.cos(math.pi * part))
        size = self.step_size * decay
        gradient = tf.where(spread(reached, slope), 0.0, -zero_where_not_finite(slope))
        gradient = by_largest_entry(gradient + self._slope_of_count(state.delta))
        mean, square, move = _adam(state, gradient)
        delta = tf.clip_by_value(problem.images + state.delta - size * move, 0.0, 1.0)
        delta -= problem.images
        change = self.threshold_step * size * tf.where(reached, 1.0, -1.0)
        threshold = tf.clip_by_value(state.threshold + change, 0.0, 1.0)
        small = tf.abs(delta) < spread(threshold, delta)
        return state._replace(
            number=state.number + 1,
            delta=tf.where(small, 0.0, delta),
            mean=mean,
            square=square,
            threshold=threshold,
        )

    def _judged(self, problem: Problem, state: _State, logits: tf.Tensor) -> _State:
        """The state with the point in it as the best, where it is."""
        point = self._point(problem, state.delta)
        count = L0().distance(point - problem.images)
        better = problem.goal.reached(logits) & (count < state.count)
        return state._replace(
            best=tf.where(spread(better, point), point, state.best),
            count=tf.where(better, count, state.count),
        )

    def _point(self, problem: Problem, delta: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(problem.images + delta, 0.0, 1.0)

    def _slope_of_count(self, delta: tf.Tensor) -> tf.Tensor:
        """Derivative of the smooth count over the number of entries, `[B,H,W,C]`."""
        entries = tf.cast(tf.reduce_prod(tf.shape(delta)[1:]), tf.float32)
        slope = 2.0 * delta * self.sigma / tf.square(tf.square(delta) + self.sigma)
        return slope / entries


def _adam(state: _State, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Adam's two means and its step, of which the size is left to the caller."""
    first, second = _DECAYS
    time = tf.cast(state.number + 1, tf.float32)
    mean = first * state.mean + (1.0 - first) * gradient
    square = second * state.square + (1.0 - second) * tf.square(gradient)
    root = tf.sqrt(square / (1.0 - second**time)) + _TINY
    return mean, square, mean / (1.0 - first**time) / root
