"""How long the rest of a training run will take."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class _Timed:
    """Steps, and the seconds that they took."""

    steps: int = 0
    seconds: float = 0.0

    def __add__(self, other: _Timed) -> _Timed:
        return _Timed(self.steps + other.steps, self.seconds + other.seconds)


class TimeLeft:
    """Times steps and the rest of each epoch, and says what is left of a run.

    Every moment is given, in seconds from any origin.

    Args:
        epochs: Of the whole run.
        steps: Of an epoch, or `None` where that is not known.

    Attributes:
        epoch: The one that runs, counted from 0.
        epochs: Of the whole run.

    Example:
        >>> time = TimeLeft(epochs=2, steps=2)
        >>> time.begin_epoch(0, now=0.0)
        >>> for step in (1, 2):
        ...     time.steps_done(step, now=10.0 * step)
        >>> time.end_epoch(now=20.0), time.text(now=20.0)
        (20.0, '20 s left')
    """

    def __init__(self, epochs: int, steps: int | None) -> None:
        self.epochs, self.epoch = epochs, 0
        self._given = self._steps = steps
        self._done = 0
        self._phase = "steps"  # then "rest", then "over"
        self._traced_at: float | None = None  # the end of the first step
        self._before = self._now = _Timed()  # the epoch before, and this one
        self._began = self._last = 0.0
        self._rests: list[float] = []
        self._first_test = _FirstTest()

    @property
    def following(self) -> int:
        """Epochs after this one."""
        return self.epochs - self.epoch - 1

    @property
    def traced(self) -> bool:
        """Whether the first step is over."""
        return self._traced_at is not None

    def begin_epoch(self, epoch: int, now: float) -> None:
        """An epoch begins."""
        if self._rests:  # and for callbacks that are listed behind the one that asks
            self._rests[-1] += now - self._last
        self.epoch, self._done, self._phase = epoch, 0, "steps"
        self._began = self._last = now
        if self._now.steps:
            self._before = self._now
        self._now = _Timed()

    def steps_done(self, done: int, now: float) -> None:
        """Takes how many steps of the epoch are over; a second time after a wait."""
        if self._given:  # Keras counts whole executions of several steps
            done = min(done, self._given)
        count, seconds = done - self._done, now - self._last
        if self._traced_at is None:
            self._traced_at = now
        elif count or self._now.steps:
            self._now += _Timed(count, seconds)
        self._done, self._last = done, now

    def begin_test(self, now: float) -> None:
        """The steps of an epoch are over, and its evaluation begins."""
        self._phase = "rest"
        if not self._rests:
            self._first_test.begin(now)

    def test_batch_done(self, now: float) -> None:
        """A batch of the evaluation is over."""
        if not self._rests:
            self._first_test.batch_done(now)

    def end_epoch(self, now: float) -> float:
        """Returns the seconds that the epoch took."""
        rest = now - self._last
        if not self._rests:
            rest -= self._first_test.tracing()
        self._rests.append(rest)
        self._steps = self._done or self._steps
        self._phase, self._last = "over", now
        return now - self._began

    def place(self) -> str:
        """Which step of the epoch is over."""
        is_bounded = self._steps is not None and self._done <= self._steps
        return f"step {self._done}" + (f"/{self._steps}" if is_bounded else "")

    def timed(self, now: float) -> float:
        """Seconds since the first step."""
        return 0.0 if self._traced_at is None else now - self._traced_at

    def steps_left(self) -> float | None:
        """Seconds of this epoch's steps to come; `None` if they cannot be known yet."""
        seconds = self._seconds_a_step()
        if self._steps is None or seconds is None:
            return None
        return max(self._steps - self._done, 0) * seconds

    def text(self, now: float) -> str:
        """The time left in words; an empty string if it cannot be known yet."""
        seconds, here = self._seconds_a_step(), self.steps_left()
        if self._steps is None or seconds is None or here is None:
            return ""
        rests = self._rests[1:] or self._rests  # the first one compiles
        rest = sum(rests) / len(rests) if rests else 0.0
        if self._phase == "steps":
            here += rest
        elif self._phase == "rest":
            here = max(rest - (now - self._last), 0.0)
        else:
            here = 0.0
        left = here + self.following * (self._steps * seconds + rest)
        return f"{'' if rests else 'at least '}{duration(left)} left"

    def _seconds_a_step(self) -> float | None:
        timed = self._before + self._now
        return timed.seconds / timed.steps if timed.steps else None


class _FirstTest:
    """How much longer the first batch of an evaluation takes than the others."""

    def __init__(self) -> None:
        self._ends: list[float] = []
        self._count = 0

    def begin(self, now: float) -> None:
        self._ends = [now]

    def batch_done(self, now: float) -> None:
        self._ends = [*self._ends[:2], now]
        self._count = 1 if len(self._ends) == 2 else self._count + 1

    def tracing(self) -> float:
        """Seconds, not below 0; 0 without a second batch."""
        if len(self._ends) < 3:
            return 0.0
        began, first, last = self._ends
        return max(first - began - (last - first) / (self._count - 1), 0.0)


def duration(seconds: float) -> str:
    """Seconds in the unit that tells enough.

    Args:
        seconds: At least 0.

    Example:
        >>> [duration(value) for value in (0.25, 41.2, 740.0, 8000.0, 4e5)]
        ['0.2 s', '41 s', '12 min', '2.2 h', '4.6 days']
    """
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 99.95 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
