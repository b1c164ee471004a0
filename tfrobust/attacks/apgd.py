"""Auto-PGD, gradient ascent that chooses the length of its own steps."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import tensorflow as tf

from tfrobust.attacks.apgd_sparse import SparseSteps
from tfrobust.attacks.apgd_starts import random_start
from tfrobust.attacks.apgd_steps import MomentumSteps, Steps, Visit, table, windows
from tfrobust.attacks.base import FixedBudget
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.l1_box import project_l1_box
from tfrobust.attacks.problem import Problem, Score
from tfrobust.attacks.registry import register
from tfrobust.core.classifier import runners_up
from tfrobust.core.errors import warn_caller
from tfrobust.core.loops import loop
from tfrobust.settings import require, require_seed, require_steps

LOSSES = ("cross_entropy", "dlr", "margin")

# Radii of the phases of a search with large radii, over eps. The first two take 0.3 of
# the steps each.
_RADII = (3.0, 2.0, 1.0)


class _Found(NamedTuple):
    """The best images of all searches; rows `[B]` or `[B,H,W,C]`."""

    image: tf.Tensor
    score: tf.Tensor
    reached: tf.Tensor  # whether the image is what the goal wants
    queries: tf.Tensor  # int32, how often the model was asked


class _State(NamedTuple):
    """One search."""

    number: tf.Tensor  # int32 scalar, steps taken
    point: tf.Tensor  # `[B,H,W,C]`, what the model is asked about next
    best: Visit
    pace: Any
    found: _Found


@register("apgd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class APGD(FixedBudget):
    """Auto-PGD (Croce and Hein 2020), gradient ascent without a step size.

    Each image has steps of its own length. In L2 and L-infinity they begin at `2 * eps`
    with a momentum of 0.75, and are halved at checkpoints where the loss no longer
    rises, when the image also goes back to its best point (`MomentumSteps`). In L1 they
    change few entries, as many as the best perturbation turns out to need
    (`SparseSteps`), and are projected on the ball and [0, 1] at once. The schedule is
    that of the authors' released code; docs/PAPERS.md lists where the papers have
    another.

    A search starts at random: L-infinity from uniform noise scaled until its largest
    entry is `eps`, L2 in a uniform direction at distance `eps`, L1 from normal noise
    projected. The draw depends on the image and `seed` alone, not on the batch. What is
    kept for each image is the best point visited within `eps`, where one that reaches
    the goal beats one that does not, and then the higher loss wins.

    The cross-entropy is climbed by its log-odds, which have a gradient in the same
    direction and order points the same, so that the schedule decides the same; in
    float32 they do not saturate.

    Costs `samples * (steps + 1)` gradients a search, of which there are `restarts` for
    each class that is tried, and 3 forward passes, one more with `target_classes`.

    Attributes:
        norm: 1, 2, `"inf"` or `math.inf`.
        eps: Radius of the ball in pixel units of [0, 1], for instance `8 / 255`. A call
            may give one for each image instead.
        steps: Gradient steps of a search, at least 1.
        restarts: Searches for each image, and for each class where classes are tried.
        loss: What is climbed: `"cross_entropy"`, `"dlr"` (difference of logits ratio, a
            margin without a scale) or `"margin"`; see `Goal`. With fewer than 3 classes
            the ratio is constant: then the margin is climbed, with a warning.
        target_classes: Try so many wrong classes one after the other, those with the
            largest logits of the clean image first and no more than there are, by the
            loss towards that class (AutoAttack's APGD-T, where it is 9 and the loss
            `"dlr"`). Any other class than the label is a success still. With fewer than
            4 classes the difference of the two logits stands for the ratio, with a
            warning. `None` for the untargeted loss.
        rho: Share of the steps that should raise the loss, between 0 and 1; has no
            effect in L1.
        samples: Gradients whose mean each step follows, for a model that answers at
            random; losses and logits are means too.
        large_radii: Look for a start at radii `3 * eps` and `2 * eps` first, with 0.3
            of the steps each. By default in L1, where there are 3 steps or more.
        early_stop: Leave an image alone once it is fooled, which saves its gradients.
            `False` goes on to the highest loss.
        seed: Of the random starts, in [0, 2**31). Under XLA (`jit_compile=True`) the
            same seed gives other draws than without.

    Raises:
        ValueError: If a setting is out of range.

    Reference: Croce and Hein 2020, https://arxiv.org/abs/2003.01690; for L1 Croce and
        Hein 2021, https://arxiv.org/abs/2103.01208.

    Example:
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 4.0 - total - 0.1], axis=-1)
        >>> result = APGD(norm=2, eps=0.1, steps=10)(model, images, tf.constant([0]))
        >>> bool(result.success[0]), bool(result.distortion[0] <= 0.1)
        (True, True)
    """

    steps: int = 100
    restarts: int = 1
    loss: str = "cross_entropy"
    target_classes: int | None = None
    rho: float = 0.75
    samples: int = 1
    large_radii: bool | None = None
    early_stop: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_steps("steps", self.steps)
        require_steps("restarts", self.restarts)
        require(self.loss in LOSSES, "loss", self.loss, f"one of {LOSSES}")
        require(0 < self.rho < 1, "rho", self.rho, "between 0 and 1")
        require_steps("samples", self.samples)
        require_seed(self.seed)
        if self.target_classes is not None:
            require_steps("target_classes", self.target_classes)
            allowed = '"dlr" or "margin" where `target_classes` are tried'
            require(self.loss != "cross_entropy", "loss", self.loss, allowed)
        if self.large_radii:
            allowed = "at least 3 with `large_radii`, one for each radius"
            require(self.steps >= 3, "steps", self.steps, allowed)

    @property
    def averages(self) -> bool:
        """Whether each gradient is a mean over several answers of the model."""
        return self.samples > 1

    def score(self, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
        """The loss that is climbed, float32 `[B]`."""
        ratio = self.loss == "dlr" and not self._fallback(logits, goal)
        if goal.rivals is not None:
            return goal.rival_ratio(logits) if ratio else goal.rival_margin(logits)
        if self.loss == "cross_entropy":
            return goal.log_odds(logits)
        return goal.logits_ratio(logits) if ratio else goal.margin(logits)

    def run(self, problem: Problem) -> tuple[tf.Tensor, tf.Tensor]:
        """Search for every class, from every start and at every radius."""
        if self.target_classes is not None and problem.goal.targeted:
            raise ValueError(
                "`target_classes` has targets of its own, the classes next to the "
                "label. Received: targets"
            )
        rows = tf.shape(problem.images)[:1]
        # Nothing is known yet: any finite point replaces this.
        found = _Found(
            image=problem.images,
            score=tf.fill(rows, -math.inf),
            reached=tf.zeros(rows, tf.bool),
            queries=tf.zeros(rows, tf.int32),
        )
        rivals, count = None, self.restarts * len(self._phases())
        if self.target_classes is not None:
            rivals, found = self._rivals(problem, found)
            count *= rivals.shape[1] or tf.shape(rivals)[1]
        climb = self._climb()

        def again(
            search: tf.Tensor, last: tf.Tensor, found: _Found
        ) -> tuple[tf.Tensor, tf.Tensor, _Found]:
            last, found = self._ascend(problem, climb, rivals, search, last, found)
            return search + 1, last, found

        def is_needed(search: tf.Tensor, _last: Any, found: _Found) -> tf.Tensor:
            return (search < count) & tf.reduce_any(self._open(problem, found))

        state = (tf.constant(0), problem.images, found)
        if isinstance(count, int) and count == 1:
            *_, found = again(*state)
        else:
            *_, found = loop(is_needed, again, state)
        return found.image, found.queries

    def _fallback(self, logits: tf.Tensor, goal: Goal) -> str:
        """What to say of climbing a margin for want of classes, or nothing."""
        classes = logits.shape[-1]
        least = 3 if goal.rivals is None else 4
        if self.loss != "dlr" or classes is None or classes >= least:
            return ""
        instead = "margin" if goal.rivals is None else "difference of two logits"
        return (
            f'`loss="dlr"` needs {least} classes, so the {instead} is climbed in its '
            f"place. Received: {classes} classes"
        )

    def _climb(self) -> Score:
        """The score as searches climb it, which says once if it is not the loss."""
        said: set[str] = set()

        def climb(logits: tf.Tensor, goal: Goal) -> tf.Tensor:
            sentence = self._fallback(logits, goal)
            if sentence and sentence not in said:
                said.add(sentence)
                warn_caller(sentence)
            return self.score(logits, goal)

        return climb

    def _phases(self) -> list[tuple[float, int]]:
        """Radii over eps, and the steps at each."""
        large = self.large_radii
        if large is None:
            large = self.norm == 1 and self.steps >= 3
        if not large:
            return [(1.0, self.steps)]
        # At least one step is left for the last, also of the smallest budgets.
        share = min(math.ceil(0.3 * self.steps), (self.steps - 1) // 2)
        counts = (share, share, self.steps - 2 * share)
        return list(zip(_RADII, counts, strict=True))

    def _open(self, problem: Problem, found: _Found) -> tf.Tensor:
        """The rows that are still worked on, bool `[B]`."""
        return problem.active & ~found.reached if self.early_stop else problem.active

    def _rivals(self, problem: Problem, found: _Found) -> tuple[tf.Tensor, _Found]:
        """The wrong classes with the largest logits, int32 `[B, N]`."""
        logits = problem.logits(problem.images, problem.active)
        tried = self.target_classes or 0
        rivals = runners_up(logits, problem.goal.classes, tried)
        queries = found.queries + tf.cast(problem.active, tf.int32)
        return rivals, found._replace(queries=queries)

    def _ascend(
        self,
        problem: Problem,
        climb: Score,
        rivals: tf.Tensor | None,
        search: tf.Tensor,
        last: tf.Tensor,
        found: _Found,
    ) -> tuple[tf.Tensor, _Found]:
        """One search at one radius; also returns the point of highest loss.

        Args:
            problem: Of the attack.
            climb: What is climbed.
            rivals: int32 `[B, N]`, if classes are tried.
            search: int32 scalar, its number. Radii change fastest, then restarts.
            last: `[B,H,W,C]`, where the search before ended.
            found: By the searches before.
        """
        radii, counts = zip(*self._phases(), strict=True)
        run, phase = search // len(radii), search % len(radii)
        goal = problem.goal
        if rivals is not None:
            towards = tf.gather(rivals, run // self.restarts, axis=1)
            goal = dataclasses.replace(goal, rivals=towards)
        asked = dataclasses.replace(problem, goal=goal)
        eps = problem.eps * tf.gather(tf.constant(radii), phase)
        count = tf.gather(tf.constant(counts), phase)
        start = self._start(problem.images, eps, run)
        if len(radii) > 1:
            nearer = self._project(problem.images, last, eps)
            start = tf.where(phase == 0, start, nearer)
        steps = self._steps(problem, eps, phase)
        within = phase == len(radii) - 1

        def is_needed(state: _State) -> tf.Tensor:
            unfinished = tf.reduce_any(self._open(problem, state.found))
            return unfinished & (state.number <= count)

        def step(state: _State) -> tuple[_State]:
            active = self._open(problem, state.found)
            here, logits = self._ask(asked, climb, state.point, active)
            kept = self._keep(problem, state.found, here.point, logits, active & within)
            queries = kept.queries + self.samples * tf.cast(active, tf.int32)
            best = _higher(here, state.best)
            point, pace = steps.advance(state.number, here, best, state.pace)
            found = kept._replace(queries=queries)
            return (_State(state.number + 1, point, best, pace, found),)

        nothing = Visit(start, tf.zeros_like(start), tf.fill(tf.shape(eps), -math.inf))
        state = _State(tf.constant(0), start, nothing, steps.begin(start), found)
        (state,) = loop(is_needed, step, (state,))
        return state.best.point, state.found

    def _start(self, images: tf.Tensor, eps: tf.Tensor, run: tf.Tensor) -> tf.Tensor:
        delta = random_start(self.norm, images, eps, self.seed, run)
        return self._project(images, images + delta, eps)

    def _project(
        self, images: tf.Tensor, points: tf.Tensor, eps: tf.Tensor
    ) -> tf.Tensor:
        if self.norm == 1:
            return project_l1_box(images, points, eps)
        return self.threat.project(images, points, eps)

    def _steps(self, problem: Problem, eps: tf.Tensor, phase: tf.Tensor) -> Steps:
        """How to step at one radius."""
        phases, images = self._phases(), problem.images
        if self.norm == 1:
            periods = [max(int(0.04 * count), 1) for _, count in phases]
            period = tf.gather(tf.constant(periods), phase)
            return SparseSteps(images, eps, period, continues=len(phases) > 1)
        checks = tf.gather(table([windows(count) for _, count in phases]), phase)
        zero = 0.0
        if self.loss == "cross_entropy":  # softplus of the log-odds, see `Goal`
            zero = math.inf if problem.goal.targeted else -math.inf
        return MomentumSteps(self.threat, images, eps, checks, self.rho, zero)

    def _ask(
        self, problem: Problem, climb: Score, point: tf.Tensor, active: tf.Tensor
    ) -> tuple[Visit, tf.Tensor]:
        """Gradient and score of a point, and its logits, each a mean of `samples`."""

        def ask() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            (slope,), (score,), logits = problem.gradients(point, [climb], active)
            return slope, score, logits

        def again(number: tf.Tensor, totals: Any) -> tuple[tf.Tensor, Any]:
            return number + 1, tf.nest.map_structure(tf.add, totals, ask())

        answers = ask()
        if self.samples > 1:
            state = (tf.constant(1), answers)
            _, totals = loop(lambda number, _: number < self.samples, again, state)
            answers = tuple(total / float(self.samples) for total in totals)
        slope, score, logits = answers
        return Visit(point, slope, score), logits

    def _keep(
        self,
        problem: Problem,
        found: _Found,
        point: tf.Tensor,
        logits: tf.Tensor,
        active: tf.Tensor,
    ) -> _Found:
        """Success first, then the higher loss."""
        score = self.score(logits, problem.goal)
        reached = problem.goal.reached(logits)
        gained = reached & ~found.reached
        better = gained | ((reached == found.reached) & (score > found.score))
        better &= active
        return _Found(
            image=tf.where(better[:, None, None, None], point, found.image),
            score=tf.where(better, score, found.score),
            reached=found.reached | (active & reached),
            queries=found.queries,
        )


def _higher(here: Visit, best: Visit) -> Visit:
    """The point of higher score, of equal ones the older; NaN is lower than any."""
    better = here.score > best.score
    image = better[:, None, None, None]
    return Visit(
        point=tf.where(image, here.point, best.point),
        gradient=tf.where(image, here.gradient, best.gradient),
        score=tf.where(better, here.score, best.score),
    )
