"""DeepFool, the nearest boundary of a linear approximation, again and again."""

from __future__ import annotations

import dataclasses
import functools
import math

import tensorflow as tf

from tfrobust.attacks.base import MinimumNorm
from tfrobust.attacks.constraints import L2
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.problem import Problem, Score
from tfrobust.attacks.registry import register
from tfrobust.core.classifier import runners_up
from tfrobust.core.loops import loop
from tfrobust.settings import require_not_negative, require_steps

# How far past a linearised boundary a step aims: a share of the way there, and a little
# in pixel units, for points that are on the boundary already.
_BEYOND = 1e-4
_LEAST = 1e-6


@register("deepfool")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepFool(MinimumNorm):
    """Steps to the nearest linearised class boundary until it is crossed, in L2.

    At each step the margins to the candidate classes are linearised; the step goes
    straight to the boundary that is nearest under this approximation. An image is left
    alone as soon as its perturbation, stretched by `overshoot`, fools the model.

    Costs one forward and `candidates` backward passes a step (one if targeted), for the
    images that are not through; most are after three or four.

    Attributes:
        steps: Steps at most.
        candidates: Classes considered: those with the largest clean logits beside the
            label. All if there are no more.
        overshoot: Relative lengthening of the perturbation, at least 0.

    Raises:
        ValueError: If a setting is out of range.

    Reference: Moosavi-Dezfooli et al. 2016, https://arxiv.org/abs/1511.04599,
    algorithm 2.

    Example:
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.9 - total], axis=-1)
        >>> result = DeepFool(overshoot=0.02)(model, images, tf.constant([0]))
        >>> round(float(result.distortion[0]), 4)  # 0.025 times 1.02
        0.0255
    """

    steps: int = 50
    candidates: int = 9
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        """Check the settings."""
        require_steps("steps", self.steps)
        require_steps("candidates", self.candidates)
        require_not_negative("overshoot", self.overshoot)

    def run(self, problem: Problem) -> tf.Tensor:
        """Step until each image is through."""
        clean = problem.logits(problem.images, problem.active)
        goal = dataclasses.replace(problem.goal, clean=clean)
        problem = dataclasses.replace(problem, goal=goal)
        # Towards a target there is one boundary, the one to the best other class.
        rivals = min(self.candidates, int(clean.shape[-1]) - 1)
        scores: list[Score] = [functools.partial(_lead, rank) for rank in range(rivals)]
        if goal.targeted:
            scores = [self.score]

        def is_needed(
            number: tf.Tensor, _point: tf.Tensor, active: tf.Tensor
        ) -> tf.Tensor:
            return (number < self.steps) & tf.reduce_any(active)

        def step(
            number: tf.Tensor, point: tf.Tensor, active: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            move = _move(problem, point, active, scores)
            moved = tf.clip_by_value(point + move, 0.0, 1.0)
            point = tf.where(active[:, None, None, None], moved, point)
            logits = problem.logits(self._stretch(problem, point), active)
            return number + 1, point, active & ~problem.goal.reached(logits)

        state = (tf.constant(0), problem.images, problem.active)
        _, point, _ = loop(is_needed, step, state)
        return self._stretch(problem, point)

    def _stretch(self, problem: Problem, point: tf.Tensor) -> tf.Tensor:
        longer = (1.0 + self.overshoot) * (point - problem.images)
        return tf.clip_by_value(problem.images + longer, 0.0, 1.0)


def _lead(rank: int, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
    """Logit of the label's rival of this rank on the clean image, less the label's."""
    rival = runners_up(goal.clean, goal.classes, rank + 1)[:, rank]
    ahead = tf.gather(logits, rival, axis=1, batch_dims=1)
    return ahead - tf.gather(logits, goal.classes, axis=1, batch_dims=1)


def _move(
    problem: Problem, point: tf.Tensor, active: tf.Tensor, scores: list[Score]
) -> tf.Tensor:
    """The shortest step to a linearised boundary, `[B,H,W,C]`."""
    best = tf.zeros_like(point)
    shortest = tf.fill(tf.shape(point)[:1], math.inf)
    slopes, values, _ = problem.gradients(point, scores, active)
    for slope, value in zip(slopes, values, strict=True):
        steepness = L2().distance(slope)
        # A little beyond, or rounding may leave the point just short of it.
        length = (1.0 + _BEYOND) * tf.maximum(-value, 0.0) / steepness + _LEAST
        length = tf.where(steepness > 0.0, length, math.inf)
        nearer = length < shortest
        step = length[:, None, None, None] * L2().normalize(slope)
        best = tf.where(nearer[:, None, None, None], step, best)
        shortest = tf.where(nearer, length, shortest)
    return best
