"""How auto-PGD steps in the L-infinity and the L2 ball, and when its steps shrink.

What a step is and how long is decided here, without asking the model; `apgd_sparse.py`
does the same for L1. The search around both is `apgd.py`.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfrobust.attacks.threat import ThreatModel

# Share of the new step, the rest is that of the last one.
_MOMENTUM = 0.75


class Visit(NamedTuple):
    """A point that the model was asked about; rows `[B]` or `[B,H,W,C]`."""

    point: tf.Tensor
    gradient: tf.Tensor
    score: tf.Tensor  # what is climbed


class Steps(abc.ABC):
    """Where to go from the points visited so far.

    A pace is what the rule remembers, a nested structure of tensors that `begin` makes
    and `advance` returns anew.
    """

    @abc.abstractmethod
    def begin(self, start: tf.Tensor) -> Any:
        """The pace before the first step from `start`, `[B,H,W,C]`."""

    @abc.abstractmethod
    def advance(
        self, number: tf.Tensor, here: Visit, best: Visit, pace: Any
    ) -> tuple[tf.Tensor, Any]:
        """The next point.

        Args:
            number: int32 scalar, steps taken so far.
            here: The last point.
            best: The one with the highest score, the last one included.
            pace: As of the last call.

        Returns:
            A point `[B,H,W,C]` in the ball, and the pace.
        """


class Pace(NamedTuple):
    """What decides the length of the steps; rows `[B]` or `[B,H,W,C]`."""

    before: tf.Tensor  # the point before the last step
    size: tf.Tensor  # of a step
    raised: tf.Tensor  # float32, steps since the last checkpoint that went up
    score: tf.Tensor  # of the last point
    checked: tf.Tensor  # the best score at the last checkpoint
    halved: tf.Tensor  # bool, whether steps were halved there


class MomentumSteps(Steps):
    """Steps of `2 eps` that are halved where the score no longer rises.

    At a checkpoint the steps of an image are halved, and it goes back to its best
    point, if either at most `rho` of the steps since the last checkpoint raised the
    score, or neither the length of its steps nor its best score has changed since.

    Args:
        threat: The norm.
        images: float32 `[B,H,W,C]`.
        eps: float32 `[B]`.
        windows: int32 scalar of each step's number: how many steps ago the last
            checkpoint was where there is one after so many steps, 0 elsewhere.
        rho: Least share of steps that should raise the score.
        zero: The score at which the loss is 0, which the released code compares the
            first step with, rather than with the start.

    Reference: Croce and Hein 2020, algorithm 1 and conditions 1 and 2 of section 3.1.
    """

    def __init__(
        self,
        threat: ThreatModel,
        images: tf.Tensor,
        eps: tf.Tensor,
        windows: tf.Tensor,
        rho: float,
        zero: float,
    ) -> None:
        self._threat, self._images, self._eps = threat, images, eps
        self._windows, self._rho, self._zero = windows, rho, zero

    def begin(self, start: tf.Tensor) -> Pace:
        """The longest steps, and no halving at once."""
        rows = tf.zeros_like(self._eps)
        return Pace(
            before=start,
            size=2.0 * self._eps,
            raised=rows,
            score=rows,
            checked=rows,
            halved=tf.ones_like(rows, tf.bool),
        )

    def advance(
        self, number: tf.Tensor, here: Visit, best: Visit, pace: Pace
    ) -> tuple[tf.Tensor, Pace]:
        """Checks the pace where it is time, then steps."""
        here, pace = self._checked(number, here, best, pace)
        return self._step(number, here, pace), pace._replace(before=here.point)

    def _checked(
        self, number: tf.Tensor, here: Visit, best: Visit, pace: Pace
    ) -> tuple[Visit, Pace]:
        is_start = number == 0
        rose = tf.cast((here.score > pace.score) & ~is_start, tf.float32)
        raised = pace.raised + rose
        checked = tf.where(is_start, best.score, pace.checked)
        window = tf.gather(self._windows, number)
        due = window > 0
        still = ~pace.halved & (checked >= best.score)
        stuck = (raised <= self._rho * tf.cast(window, tf.float32)) | still
        halve = due & stuck
        pace = Pace(
            before=pace.before,
            size=tf.where(halve, 0.5 * pace.size, pace.size),
            raised=tf.where(due, 0.0, raised),
            score=tf.where(is_start, self._zero, here.score),
            checked=tf.where(due, best.score, checked),
            halved=tf.where(due, stuck, pace.halved),
        )
        return returned(here, best, halve), pace

    def _step(self, number: tf.Tensor, here: Visit, pace: Pace) -> tf.Tensor:
        """Equations 1 and 2 of the paper: a step, and some of the one before."""
        point = here.point
        unit = self._threat.constraint.normalize(here.gradient)
        size = tf.reshape(pace.size, [-1, 1, 1, 1])
        ahead = self._within(point + size * unit)
        share = tf.where(number == 0, 1.0, _MOMENTUM)
        last = point - pace.before
        return self._within(point + share * (ahead - point) + (1.0 - share) * last)

    def _within(self, points: tf.Tensor) -> tf.Tensor:
        return self._threat.project(self._images, points, self._eps)


def returned(here: Visit, best: Visit, back: tf.Tensor) -> Visit:
    """The best point where `back`, bool `[B]`, says so, the last point elsewhere."""
    image = tf.reshape(back, [-1, 1, 1, 1])
    return Visit(
        point=tf.where(image, best.point, here.point),
        gradient=tf.where(image, best.gradient, here.gradient),
        score=tf.where(back, best.score, here.score),
    )


def windows(steps: int) -> list[int]:
    """How far back the last checkpoint is, where there is one, for each step's number.

    The first checkpoint is after `0.22 * steps`; each interval is shorter than the last
    by `0.03 * steps`, down to `0.06 * steps`, all in whole steps of at least 1.

    Args:
        steps: The budget.

    Returns:
        For each number of steps taken, from 0 to `steps`, the steps since the last
        checkpoint where there is one, 0 elsewhere.

    Example:
        >>> [number for number, window in enumerate(windows(100)) if window]
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    window, least, less = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    found = [0] * (steps + 1)
    number = window
    while number <= steps:
        found[number] = window
        window = max(window - less, least)
        number += window
    return found


def table(lists: Sequence[Sequence[int]]) -> tf.Tensor:
    """Lists as the rows of an int32 table, zeros where one is shorter.

    Example:
        >>> table([[1], [2, 3]]).numpy().tolist()
        [[1, 0], [2, 3]]
    """
    length = max(map(len, lists))
    return tf.constant([[*each, *[0] * (length - len(each))] for each in lists])
