"""Projected gradient descent, the standard attack within a norm ball."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrobust.attacks.base import FixedBudget
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.problem import Problem, inward
from tfrobust.attacks.registry import register
from tfrobust.core.keras_losses import ExampleLoss, is_loss
from tfrobust.core.loops import loop
from tfrobust.core.seeds import drawn_shape, seeds_of
from tfrobust.settings import (
    require,
    require_not_negative,
    require_positive,
    require_steps,
)

LOSSES = ("cross_entropy", "margin", "dlr", "kl")

# The best images so far, their scores, and whether they reach the goal.
_Best = tuple[tf.Tensor, tf.Tensor, tf.Tensor]

Direction = Callable[[tf.Tensor], tf.Tensor]
"""Maps gradients `[B, H, W, C]` to directions of the same shape."""


@register("pgd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD(FixedBudget):
    """Projected gradient descent (Madry et al. 2018, https://arxiv.org/abs/1706.06083).

    From a random point of the eps-ball around the image, repeat: step along the
    normalised gradient of the loss, project on the ball, clip to [0, 1]. Kept for each
    image is the best point visited over all steps and restarts, where a point that
    reaches the goal beats one that does not, and then the higher loss wins.

    Gradients that push a pixel out of [0, 1] where it is at that bound already are left
    out before the normalisation, so that no length of the step is wasted on them.

    Adversarial training uses `perturb`, which also moves the images that the network
    already gets wrong and never stops early; a call returns those as they came.

    Costs at most `restarts * steps` gradients and `restarts + 3` forward passes: three
    for a call's verdict, and for each start one to look at its last point.

    Attributes:
        norm: 1, 2, `"inf"` or `math.inf`. The step is the gradient over its L2 norm,
            its sign, or for 1 the signs of its largest entries (`L1`).
        eps: Radius of the ball in pixel units of [0, 1], for instance `8 / 255`. A call
            may give one for each image instead.
        steps: Gradient steps from each start, at least 1.
        step_size: Length of a step in the norm. `2 * eps / steps` if `None`, enough to
            cross the ball.
        random_start: Start at a uniform draw from the ball rather than at the image.
            The draw depends on the image and `seed` alone, not on the batch around it.
        restarts: Searches for each image. More than 1 needs `random_start`.
        loss: What is climbed: `"cross_entropy"` (through its log-odds, which point the
            same way and do not saturate), `"margin"` (Carlini and Wagner's),
            `"dlr"` (a margin without a scale) or `"kl"` (divergence from the clean
            prediction, as TRADES has it; needs `random_start`, since its gradient is 0
            at the image); see `Goal`. Or a Keras loss, or a function like one of labels
            `[B]` and logits `[B, K]`: one that says `from_logits=False` gets the
            probabilities, and one of classes as one-hot rows gets them.
        momentum: Share of the past directions kept in each step, at least 0 (Dong et
            al. 2018). 0 is plain PGD.
        early_stop: Leave an image alone once it is fooled, which saves its gradients.
            `False` goes on to the highest loss, for transfer for instance.
        keep_best: `False` returns the last point instead of the best one, and leaves
            out the look at it: what adversarial training does as it was published, at
            one forward pass less. Needs one start, and never stops early.
        seed: Of the random starts, in [0, 2**31). Under XLA (`jit_compile=True`) the
            same seed gives other draws than without.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 4.0 - total - 0.1], axis=-1)
        >>> result = PGD(norm="inf", eps=0.1)(model, images, tf.constant([0]))
        >>> bool(result.success[0]), bool(result.distortion[0] <= 0.1)
        (True, True)
    """

    steps: int = 20
    step_size: float | None = None
    random_start: bool = True
    restarts: int = 1
    loss: str | Callable[..., Any] = "cross_entropy"
    momentum: float = 0.0
    early_stop: bool = True
    keep_best: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_steps("steps", self.steps)
        require_steps("restarts", self.restarts)
        require(0 <= self.seed < 2**31, "seed", self.seed, "in [0, 2**31)")
        if not is_loss(self.loss):
            allowed = f"a Keras loss or one of {LOSSES}"
            require(self.loss in LOSSES, "loss", self.loss, allowed)
        require_not_negative("momentum", self.momentum)
        if self.step_size is not None:
            require_positive("step_size", self.step_size)
        if not self.random_start:
            self._check_fixed_start()
        if self.restarts > 1 and not self.keep_best:
            raise ValueError(
                "`restarts` above 1 needs `keep_best=True`, which chooses among their "
                f"results. Received: restarts={self.restarts}"
            )

    def _check_fixed_start(self) -> None:
        if self.restarts > 1:
            raise ValueError(
                "`restarts` above 1 needs `random_start=True`, or every search is the "
                f"same. Received: restarts={self.restarts}"
            )
        if self.loss == "kl":
            raise ValueError(
                '`loss="kl"` needs `random_start=True`: its gradient is 0 at the image '
                "itself. Received: random_start=False"
            )

    def score(self, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
        """The loss that is climbed, float32 `[B]`."""
        if self.loss == "kl" and goal.clean is not None:
            return goal.divergence(logits)
        if is_loss(self.loss):
            return goal.loss(ExampleLoss(self.loss), logits)
        if self.loss == "dlr":
            return goal.logits_ratio(logits)
        return (
            goal.log_odds(logits)
            if self.loss == "cross_entropy"
            else goal.margin(logits)
        )

    def run(self, problem: Problem) -> tf.Tensor:
        """Search from every start and keep the best point visited."""
        if self.loss == "kl":
            if problem.goal.targeted:
                raise ValueError(
                    '`loss="kl"` has no target: it leads away from the clean '
                    "prediction, anywhere. Received: targets"
                )
            clean = problem.logits(problem.images, problem.active)
            goal = dataclasses.replace(problem.goal, clean=clean)
            problem = dataclasses.replace(problem, goal=goal)
        # Nothing is known yet: any finite point replaces this.
        best = (
            problem.images,
            tf.fill(tf.shape(problem.images)[:1], -math.inf),
            tf.zeros(tf.shape(problem.images)[:1], tf.bool),
        )
        direct = self._direction(problem)
        if self.restarts == 1:
            return self._restart(problem, direct, 0, best)[0]

        def again(restart: tf.Tensor, best: _Best) -> tuple[tf.Tensor, _Best]:
            return restart + 1, self._restart(problem, direct, restart, best)

        def is_needed(restart: tf.Tensor, best: _Best) -> tf.Tensor:
            return (restart < self.restarts) & tf.reduce_any(self._open(problem, best))

        _, best = loop(is_needed, again, (tf.constant(0), best))
        return best[0]

    def _open(self, problem: Problem, best: _Best) -> tf.Tensor:
        """The rows that are still worked on, bool `[B]`."""
        stops = self.early_stop and self.keep_best
        return problem.active & ~best[2] if stops else problem.active

    def _direction(self, problem: Problem) -> Direction:
        """What becomes of a gradient before it is normalised; here nothing."""
        return lambda gradient: gradient

    def _restart(
        self,
        problem: Problem,
        direct: Direction,
        restart: tf.Tensor | int,
        best: _Best,
    ) -> _Best:
        """One search: `steps` gradient steps, and a look at the last point."""
        start = self._start(problem, restart)
        # No state where there is no momentum: it would be as large as the images.
        velocity = tf.zeros_like(start) if self.momentum else tf.zeros([])

        def step(
            number: tf.Tensor, point: tf.Tensor, velocity: tf.Tensor, best: _Best
        ) -> tuple[Any, ...]:
            active = self._open(problem, best)
            gradient, logits = problem.gradient(point, self.score, active)
            if self.keep_best:
                best = self._keep_best(problem, best, point, logits, active)
            gradient = inward(gradient, point)
            if self.momentum:
                velocity = self.momentum * velocity + _share(gradient)
                gradient = inward(velocity, point)
            point = self.step(problem, point, direct(gradient))
            return number + 1, point, velocity, best

        def is_needed(number: tf.Tensor, _p: Any, _v: Any, best: _Best) -> tf.Tensor:
            return (number < self.steps) & tf.reduce_any(self._open(problem, best))

        state = (tf.constant(0), start, velocity, best)
        _, last, _, best = loop(is_needed, step, state)
        if not self.keep_best:
            return last, *best[1:]
        active = self._open(problem, best)
        logits = problem.logits(last, active)
        return self._keep_best(problem, best, last, logits, active)

    def _start(self, problem: Problem, restart: tf.Tensor | int) -> tf.Tensor:
        images = problem.images
        if not self.random_start:
            return images
        seeds = seeds_of(images, self.seed, restart)
        shape = drawn_shape(images)
        delta = self.constraint.random_start(shape, seeds, _radius(problem))
        delta = tf.ensure_shape(delta, images.shape)
        return self.threat.project(images, images + delta, problem.eps)

    def step(
        self, problem: Problem, point: tf.Tensor, gradient: tf.Tensor
    ) -> tf.Tensor:
        """One step along a gradient, and back into the ball."""
        if self.step_size is None:
            size = 2.0 * _radius(problem) / self.steps
        else:
            size = tf.constant(self.step_size, tf.float32)
        moved = point + size * self.constraint.normalize(gradient)
        return self.threat.project(problem.images, moved, problem.eps)

    def _keep_best(
        self,
        problem: Problem,
        best: _Best,
        point: tf.Tensor,
        logits: tf.Tensor,
        active: tf.Tensor,
    ) -> _Best:
        """Success first, then the higher loss; in TRADES the divergence alone."""
        image, score, reached = best
        goal = problem.goal
        new_score, new_reached = self.score(logits, goal), goal.reached(logits)
        better = new_score > score
        if self.early_stop or self.loss != "kl":
            gained = new_reached & ~reached
            better = gained | ((new_reached == reached) & better)
        better &= active
        return (
            tf.where(better[:, None, None, None], point, image),
            tf.where(better, new_score, score),
            reached | (active & new_reached),
        )


def _radius(problem: Problem) -> tf.Tensor:
    """The radius of each row, `[B, 1, 1, 1]`."""
    return tf.reshape(problem.eps, [-1, 1, 1, 1])


def _share(gradient: tf.Tensor) -> tf.Tensor:
    """The gradient over its L1 norm; 0 where it is 0 or not finite."""
    gradient = tf.where(tf.math.is_finite(gradient), gradient, 0.0)
    largest = tf.reduce_max(tf.abs(gradient), axis=[1, 2, 3], keepdims=True)
    scaled = tf.math.divide_no_nan(gradient, largest)
    total = tf.reduce_sum(tf.abs(scaled), axis=[1, 2, 3], keepdims=True)
    return tf.math.divide_no_nan(scaled, total)
