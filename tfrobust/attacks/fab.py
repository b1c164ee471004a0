"""FAB, a minimal-norm attack that stays near the original image."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import NamedTuple

import tensorflow as tf

from tfrobust.attacks import constraints
from tfrobust.attacks.base import MinimumNorm
from tfrobust.attacks.draws import draws_of, keys_of, normals_of, uniform_of
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.hyperplane import step_to_hyperplane
from tfrobust.attacks.problem import Problem, Score
from tfrobust.attacks.registry import register
from tfrobust.attacks.segment import nearer_on_segment
from tfrobust.core.classifier import runners_up
from tfrobust.core.loops import loop
from tfrobust.core.seeds import seeds_of
from tfrobust.core.vectors import largest_entry, spread, zero_where_not_finite
from tfrobust.settings import (
    require,
    require_positive,
    require_seed,
    require_steps,
)

# The published radius of random starts, where no budget is given.
_START_RADIUS = {1.0: 5.0, 2.0: 1.0, math.inf: 0.3}
# Steps shorter than this count as so long where two are weighed.
_LEAST = 1e-8


class _State(NamedTuple):
    """The search of each image; rows `[B]` or `[B,H,W,C]`."""

    best: tf.Tensor  # nearest success, or the image
    distance: tf.Tensor  # its distance, or infinity
    logits: tf.Tensor  # of the best, `[B,K]`
    queries: tf.Tensor  # int32, how often the model was asked


@register("fab")
@dataclasses.dataclass(frozen=True, kw_only=True)
class FAB(MinimumNorm):
    """Fast adaptive boundary attack: steps to a boundary that remember the image.

    Each step linearises the network at the current point and projects both this point
    and the original image on the boundary that follows, within [0, 1]. It goes a little
    beyond the first projection, and with a weight alpha towards the second, so that it
    does not drift away. From a success it steps back towards the image. The nearest
    success is kept, and brought nearer on its line to the image at the end.

    As AutoAttack runs it, the boundaries to the classes with the largest clean logits
    are tried one after the other, and what counts is to leave the label
    (`target_classes=9`). With `target_classes=None` each step goes to the nearest of
    all boundaries, which takes a gradient for each class; that is the paper's form.
    With targets only the boundary of the target counts.

    An image with a budget (`problem.eps`, as within an ensemble) is done as soon as a
    success within it is found.

    Where the paper and the released programs differ it does as the programs do, but for
    the search on the line at the end, which AutoAttack's leaves out.

    Costs at most `restarts * target_classes * steps` gradients and as many forward
    passes, and 6 more; the result says how many each image took.

    Attributes:
        norm: 1, 2, `"inf"` or `math.inf`.
        steps: Steps from each start towards each boundary. AutoAttack has 100.
        restarts: Searches for each boundary; all but the first from random points.
        target_classes: Classes that are tried, at most all that there are; `None` for
            the nearest boundary in each step, which holds a gradient for each class at
            once: of 1,000 classes only a few images at a time. Idle with targets.
        alpha_max: Largest weight of the original image's projection, in [0, 1].
        eta: Steps are so many times as long as to the boundary, at least 1.
        beta: Share of the perturbation that is kept after a success, in (0, 1).
        start_radius: Random starts are half as far from the image, or half as far as
            the nearest success where that is less; `None` for 0.3 (L-infinity), 1 (L2)
            or 5 (L1). A budget takes its place.
        seed: Of the random starts, in [0, 2**31).

    Raises:
        ValueError: If a setting is out of range.

    Reference: Croce and Hein 2020, https://arxiv.org/abs/1907.02044, algorithm 1.

    Example:
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.9 - total], axis=-1)
        >>> result = FAB(norm="inf", steps=20)(model, images, tf.constant([0]))
        >>> round(float(result.distortion[0]), 4)  # 0.0125 is the exact distance
        0.0125
    """

    norm: float | str = "inf"
    steps: int = 100
    restarts: int = 1
    target_classes: int | None = 9
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    start_radius: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        norms = (1, 2, "inf", math.inf)
        require(self.norm in norms, "norm", self.norm, '1, 2 or "inf"')
        _ = self.threat
        require_steps("steps", self.steps)
        require_steps("restarts", self.restarts)
        if self.target_classes is not None:
            require_steps("target_classes", self.target_classes)
        require(0 <= self.alpha_max <= 1, "alpha_max", self.alpha_max, "in [0, 1]")
        allowed = "a finite number of at least 1"
        require(1 <= self.eta < math.inf, "eta", self.eta, allowed)
        require(0 < self.beta < 1, "beta", self.beta, "between 0 and 1")
        if self.start_radius is not None:
            require_positive("start_radius", self.start_radius)
        require_seed(self.seed)

    def run(self, problem: Problem) -> tuple[tf.Tensor, tf.Tensor]:
        """Search towards each boundary from each start, then along the line back."""
        images = problem.images
        clean = problem.logits(images, problem.active)
        rivals = self._rivals(problem.goal, clean)
        scores = self._scores(problem.goal, rivals, int(clean.shape[-1]))
        rounds = self.restarts * (1 if rivals is None else rivals.shape[1])
        state = _State(
            best=images,
            distance=tf.fill(tf.shape(images)[:1], math.inf),
            logits=clean,
            queries=tf.cast(problem.active, tf.int32),
        )

        def is_needed(number: tf.Tensor, state: _State) -> tf.Tensor:
            return (number < rounds) & tf.reduce_any(self._open(problem, state))

        def again(number: tf.Tensor, state: _State) -> tuple[tf.Tensor, _State]:
            current = problem
            if rivals is not None:
                rival = tf.gather(rivals, number // self.restarts, axis=1)
                goal = dataclasses.replace(problem.goal, rivals=rival)
                current = dataclasses.replace(problem, goal=goal)
            start = self._start(problem, number, state.distance)
            return number + 1, self._from(current, scores, start, state)

        _, state = loop(is_needed, again, (tf.constant(0), state))
        found = tf.math.is_finite(state.distance)
        active = self._open(problem, state) & found
        best, asked = nearer_on_segment(
            problem, state.best, clean, state.logits, active
        )
        return best, state.queries + asked

    def _rivals(self, goal: Goal, clean: tf.Tensor) -> tf.Tensor | None:
        """The classes that are tried one after the other, int32 `[B,N]`."""
        if goal.targeted or self.target_classes is None:
            return None
        return runners_up(clean, goal.classes, self.target_classes)

    def _scores(
        self, goal: Goal, rivals: tf.Tensor | None, classes: int
    ) -> list[Score]:
        """What is 0 on the boundaries that a step looks at."""
        if goal.targeted:
            return [self.score]
        if rivals is not None:
            return [_rival_ahead]
        return [functools.partial(_class_ahead, offset) for offset in range(1, classes)]

    def _open(self, problem: Problem, state: _State) -> tf.Tensor:
        """The rows that are still worked on, bool `[B]`."""
        if problem.eps is None:
            return problem.active
        return problem.active & (state.distance > problem.eps)

    def _start(
        self, problem: Problem, number: tf.Tensor, distance: tf.Tensor
    ) -> tf.Tensor:
        """The image, or a point at half of the radius in a random direction."""
        images = problem.images
        if self.restarts == 1:
            return images
        keys = keys_of(seeds_of(images, self.seed, number))
        draws = draws_of(keys, 0, tf.reduce_prod(tf.shape(images)[1:]))
        linf = self.norm in ("inf", math.inf)
        values = 2.0 * uniform_of(draws) - 1.0 if linf else normals_of(draws)
        direction = tf.reshape(values, tf.shape(images))
        radius = self._start_radius if problem.eps is None else problem.eps
        size = 0.5 * tf.minimum(distance, radius) / self.constraint.distance(direction)
        moved = tf.clip_by_value(images + spread(size, images) * direction, 0.0, 1.0)
        first = number % self.restarts == 0
        return tf.ensure_shape(tf.where(first, images, moved), images.shape)

    @property
    def _start_radius(self) -> float:
        if self.start_radius is not None:
            return self.start_radius
        norm = math.inf if self.norm == "inf" else self.norm
        return _START_RADIUS[float(norm)]

    def _from(
        self, problem: Problem, scores: list[Score], start: tf.Tensor, state: _State
    ) -> _State:
        """All steps from one start."""

        def is_needed(number: tf.Tensor, _: tf.Tensor, state: _State) -> tf.Tensor:
            unfinished = tf.reduce_any(self._open(problem, state))
            return (number < self.steps) & unfinished

        def step(
            number: tf.Tensor, point: tf.Tensor, state: _State
        ) -> tuple[tf.Tensor, tf.Tensor, _State]:
            return number + 1, *self._step(problem, scores, point, state)

        _, _, state = loop(is_needed, step, (tf.constant(0), start, state))
        return state

    def _step(
        self, problem: Problem, scores: list[Score], point: tf.Tensor, state: _State
    ) -> tuple[tf.Tensor, _State]:
        """One step, a look at where it led, and a step back from a success."""
        images, active = problem.images, self._open(problem, state)
        gradients, values, _ = problem.gradients(point, scores, active)
        moved = self._moved(images, point, *self._nearest(gradients, values))
        logits = problem.logits(moved, active)
        reached = active & problem.goal.reached(logits)
        distance = self.threat.distance(images, moved)
        nearer = reached & (distance < state.distance)
        back = images + self.beta * (moved - images)
        point = tf.where(spread(reached, images), back, moved)
        return point, _State(
            best=tf.where(spread(nearer, images), moved, state.best),
            distance=tf.where(nearer, distance, state.distance),
            logits=tf.where(nearer[:, None], logits, state.logits),
            queries=state.queries + 2 * tf.cast(active, tf.int32),
        )

    def _nearest(
        self, gradients: list[tf.Tensor], values: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The linearised boundary that is nearest without the box.

        Returns:
            Its normals `[B,H,W,C]`, none larger than 1, and values `[B]`.
        """
        normal, offset = tf.zeros_like(gradients[0]), tf.zeros_like(values[0])
        shortest = tf.fill(tf.shape(offset), math.inf)
        for gradient, value in zip(gradients, values, strict=True):
            gradient = zero_where_not_finite(gradient)
            largest = largest_entry(gradient)
            gradient = tf.math.divide_no_nan(gradient, largest)
            value = value / tf.reshape(largest, [-1])
            usable = tf.math.is_finite(value)
            length = tf.abs(value) / tf.maximum(self._dual(gradient), 1.0)
            nearer = usable & (length < shortest)
            normal = tf.where(spread(nearer, gradient), gradient, normal)
            offset = tf.where(nearer, value, offset)
            shortest = tf.where(nearer, length, shortest)
        return normal, offset

    def _dual(self, gradient: tf.Tensor) -> tf.Tensor:
        """Norm of a gradient that goes with the norm of steps, `[B]`."""
        if self.norm == 2:
            return constraints.L2().distance(gradient)
        dual = constraints.Linf() if self.norm == 1 else constraints.L1()
        return dual.distance(gradient)

    def _moved(
        self, images: tf.Tensor, point: tf.Tensor, normal: tf.Tensor, value: tf.Tensor
    ) -> tf.Tensor:
        """Beyond the projections of the point and of the image, a share of each."""
        at_image = value + tf.reduce_sum(normal * (images - point), axis=[1, 2, 3])
        step = self._step_to(point, normal, value)
        anew = self._step_to(images, normal, at_image)
        here = tf.maximum(self.constraint.distance(step), _LEAST)
        there = tf.maximum(self.constraint.distance(anew), _LEAST)
        alpha = tf.minimum(here / (here + there), self.alpha_max)
        alpha = spread(alpha, images)
        moved = (1.0 - alpha) * (point + self.eta * step)
        return tf.clip_by_value(moved + alpha * (images + self.eta * anew), 0.0, 1.0)

    def _step_to(
        self, points: tf.Tensor, normals: tf.Tensor, values: tf.Tensor
    ) -> tf.Tensor:
        shape = tf.shape(points)
        rows = [shape[0], tf.reduce_prod(shape[1:])]
        step = step_to_hyperplane(
            self.norm, tf.reshape(points, rows), tf.reshape(normals, rows), values
        )
        return tf.ensure_shape(tf.reshape(step, shape), points.shape)


def _rival_ahead(logits: tf.Tensor, goal: Goal) -> tf.Tensor:
    """Logit of the class that is tried less that of the label, `[B]`."""
    return _of(logits, goal.rivals) - _of(logits, goal.classes)


def _class_ahead(offset: int, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
    """Logit of the class so many after the label less that of the label, `[B]`."""
    rival = (goal.classes + offset) % tf.shape(logits)[-1]
    return _of(logits, rival) - _of(logits, goal.classes)


def _of(logits: tf.Tensor, classes: tf.Tensor | None) -> tf.Tensor:
    return tf.gather(logits, classes, axis=1, batch_dims=1)
