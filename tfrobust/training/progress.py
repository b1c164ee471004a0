"""Progress of training on one short line, with the time left of the whole run."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

import keras

from tfrobust.core.terminal import columns
from tfrobust.training.time_left import TimeLeft, duration

_METRICS = ("loss", "accuracy", "val_accuracy", "val_robust_accuracy")

# What a line calls a metric: in full, and where there is little room.
_LABELS = {
    "accuracy": ("accuracy", "acc"),
    "val_accuracy": ("val", "val"),
    "val_robust_accuracy": ("robust", "robust"),
}

# Seconds. A terminal's line is rewritten so often; a file gets a first estimate after
# many seconds of timed steps, and then a line where it would stay silent for so long.
_REDRAW, _EARLY, _SILENCE = 0.2, 10.0, 600.0


class Progress(keras.callbacks.Callback):
    """Shows training on one line of at most 80 columns, with the run's time left.

    On a terminal the line is rewritten in place, and stays as it is at the end of each
    epoch. Anywhere else, as in the log of a run in the background, there is one line an
    epoch; before them an estimate after about ten seconds of steps, and inside of
    epochs that take long one line every ten minutes:

        epoch 3/50  loss 1.234  acc 56.1%  val 55.0%  robust 31.2%  41 s  32 min left

    `acc` is `accuracy`, `val` is `val_accuracy`, `robust` is `val_robust_accuracy`;
    then come the seconds that the epoch took and the time left of the whole run: steps,
    evaluations and what other callbacks do between two epochs. Steps count as they took
    in this epoch and the one before, the rest of an epoch as it took so far. The first
    training step and the first one of an evaluation, which trace a graph, are left out;
    what other callbacks compile in the first epoch is not, so the estimate behind it is
    rather too long. In the first epoch the rest is not known, and the line says "at
    least". Where the number of steps is not known, the time left is known from the
    second epoch on.

    Where a line is too short for everything, labels are abbreviated, then the seconds
    go, then the metrics from the first to the last.

    List it last, so that it sees and times what the other callbacks do, and give `fit`
    `verbose=0`. Where the stream cannot be written to any more, training goes on.

    Args:
        stream: Where to write; what `sys.stdout` is when training begins if `None`.
        metrics: Names of the logs to show, in this order; those that are not in the
            logs are left out. One that ends in `accuracy` is shown in per cent.
        write: Whether this process writes; `False` on workers that are not the chief.
        clock: Seconds from any origin.

    Raises:
        ValueError: If `metrics` is a single string.

    Example:
        >>> import keras, numpy as np
        >>> from tfrobust import models
        >>> from tfrobust.training import Progress, RobustModel
        >>> model = RobustModel(models.MLP((2,), classes=2, hidden=(8,)))
        >>> model.compile(keras.optimizers.SGD(0.1))
        >>> x, y = np.eye(2, dtype="float32"), np.array([0, 1])
        >>> progress = Progress(clock=lambda: 0.0)
        >>> history = model.fit(x, y, callbacks=[progress], verbose=0)
        ... # doctest: +ELLIPSIS
        epoch 1/1  loss ...  accuracy ...%  0.0 s  0.0 s in all
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        metrics: Sequence[str] = _METRICS,
        write: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__()
        if isinstance(metrics, str):
            raise ValueError(
                f"`metrics` must be a sequence of names. Received: metrics={metrics!r}"
            )
        self.stream = stream
        self.metrics = tuple(metrics)
        self.write = write
        self._clock = clock
        self._fitting = False

    def on_train_begin(self, logs: Any = None) -> None:
        self._fitting = self.write
        if not self.write:
            return
        self._line = _Line(self.stream or sys.stdout)
        self._time = TimeLeft(self.params["epochs"], self.params.get("steps"))
        self._began = self._shown = self._clock()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if not self._fitting:
            return
        self._time.begin_epoch(epoch, self._clock())
        if self._line.terminal and not self._time.traced:
            self._show([], note="preparing the first step")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._fitting:
            return
        now = self._clock()
        self._time.steps_done(batch + 1, now)
        if self._due(now):
            # Reading a metric waits for a device that works asynchronously.
            numbers = self._numbers(logs)
            self._time.steps_done(batch + 1, self._clock())
            self._show(numbers, note=self._time.place())

    def on_test_begin(self, logs: Any = None) -> None:
        if self._fitting:
            self._time.begin_test(self._clock())
            if self._line.terminal:
                self._show([], note="evaluation")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._fitting:
            return
        now = self._clock()
        self._time.test_batch_done(now)
        if self._line.terminal and now - self._shown >= _REDRAW:
            self._show([], note="evaluation")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self._fitting:
            return
        numbers = self._numbers(logs)
        now = self._clock()
        seconds = self._time.end_epoch(now)
        took = _Part(duration(seconds), rank=0)
        if self._time.following and not getattr(self.model, "stop_training", False):
            self._show([*numbers, took], stays=True)
        else:
            whole = f"{duration(now - self._began)} in all"
            self._show([*numbers, took], end=whole, stays=True)

    def on_train_end(self, logs: Any = None) -> None:
        if self._fitting:
            self._line.end()
        self._fitting = False

    def _due(self, now: float) -> bool:
        """Whether a line is to be written after this step."""
        if self._line.terminal:
            return now - self._shown >= _REDRAW
        if now - self._shown >= _SILENCE:
            return True
        # Not where the line of the epoch's end comes as soon.
        first = self._shown == self._began and self._time.timed(now) >= _EARLY
        return first and (self._time.steps_left() or 0.0) >= _EARLY

    def _numbers(self, logs: Mapping[str, Any] | None) -> list[_Part]:
        """The metrics as they are shown, from the least to the most important."""
        parts = []
        for rank, name in enumerate(self.metrics, start=1):
            try:
                value = float((logs or {})[name])
            except (KeyError, TypeError, ValueError):
                continue  # not logged, or no number
            shown = _number(name, value)
            long, short = _LABELS.get(name, (name, name))
            parts.append(_Part(f"{long} {shown}", f"{short} {shown}", rank=rank))
        return parts

    def _show(
        self, parts: list[_Part], note: str = "", end: str = "", stays: bool = False
    ) -> None:
        """Writes a line: epoch, note, what is given, and the time left."""
        self._shown = self._clock()
        place = f"{self._time.epoch + 1}/{self._time.epochs}"
        rank = len(self.metrics) + 1
        parts = [
            _Part(f"epoch {place}", place, rank=rank + 1),
            _Part(note, rank=rank),
            *parts,
            _Part(end or self._time.text(self._shown), rank=rank + 2),
        ]
        self._line.write(parts, stays)


@dataclasses.dataclass(frozen=True)
class _Part:
    """A piece of a line; what has the least rank is given up first."""

    text: str
    short: str = ""
    rank: int = 0


def _fit(parts: Iterable[_Part], width: int) -> str:
    """The parts with two spaces between them, as many and as long as there is room."""
    texts = {part: part.text for part in parts if part.text}
    ranked = sorted(texts, key=lambda part: part.rank)

    def line() -> str:
        return "  ".join(texts.values())

    for part in ranked:
        if len(line()) > width and part.short:
            texts[part] = part.short
    for part in ranked[:-1]:
        if len(line()) > width:
            del texts[part]
    return line()[:width]


class _Line:
    """The line of a stream that is written last, in place on a terminal."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.terminal = stream is not None and stream.isatty()
        self._length = 0

    def write(self, parts: Iterable[_Part], stays: bool) -> None:
        if self._stream is None:
            return
        width = columns(self._stream)
        text = _fit(parts, width)
        if not self.terminal:
            self._put(text + "\n")
            return
        covered = text.ljust(min(self._length, width))
        self._put(f"\r{covered}" + "\n" * stays)
        self._length = 0 if stays else len(text)

    def end(self) -> None:
        """Leaves the line as it is."""
        if self._length:
            self._put("\n")
        self._length = 0

    def _put(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # a closed pipe, file or terminal, a full disk
            self._stream = None


def _number(name: str, value: float) -> str:
    """A metric as it is read: a share in per cent, others with three decimals.

    Example:
        >>> _number("val_accuracy", 0.5614), _number("loss", 1.5), _number("loss", 1e-5)
        ('56.1%', '1.500', '1.00e-05')
    """
    if name.endswith("accuracy"):
        return f"{100 * value:.1f}%"
    plain = value == 0 or 1e-3 <= abs(value) < 1e4
    return f"{value:.3f}" if plain else f"{value:.2e}"
