"""The network of the best epoch, kept: what early stopping would have ended with."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import keras

from tfrobust.core.files import replacing
from tfrobust.settings import require


class Best(NamedTuple):
    """The best epoch so far.

    Attributes:
        epoch: Counted from 1.
        value: What it reached.
    """

    epoch: int
    value: float


class KeepBest(keras.callbacks.Callback):
    """Saves a `RobustModel`'s network after every epoch that is better than all before.

    The file is whole at every moment. Of equals the first stays, and NaN is never best.
    List it behind `RestartPoints`: a run killed between the two finds the best epoch
    among its rows, and the network that it restores is the one to save.

    Args:
        path: The file, ending with `.keras`.
        monitor: Name of the entry in the logs. Epochs without it are passed over.
        mode: `"max"` or `"min"`, what is better.
        rows: Of a run that goes on, the rows of the epochs it had finished, as
            `MetricsTable.rows` or `read_table` have them.
        write: Whether this process writes; `False` on workers that are not the chief.

    Attributes:
        best: The best epoch so far, a `Best`, or `None` before there is one.

    Raises:
        ValueError: If the file's name or the mode is another.

    Example:
        >>> from tfrobust.training import KeepBest
        >>> rows = [{"epoch": i, "score": s} for i, s in ((1, 0.5), (2, 0.75))]
        >>> KeepBest("best.keras", "score", rows=rows).best
        Best(epoch=2, value=0.75)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_robust_accuracy",
        mode: str = "max",
        rows: Iterable[Mapping[str, float]] = (),
        write: bool = True,
    ) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        named = self.path.suffix == ".keras"
        require(named, "path", os.fspath(path), "a file that ends with .keras")
        require(mode in ("max", "min"), "mode", mode, '"max" or "min"')
        self.monitor = monitor
        self.write = write
        self.best: Best | None = None
        self._sign = 1.0 if mode == "max" else -1.0
        self._restored = 0
        for row in rows:
            self._restored = int(row["epoch"])
            self._improves(self._restored, row)

    def on_train_begin(self, logs: Any = None) -> None:
        restored, self._restored = self._restored, 0
        if not restored or self.best is None:
            return
        if self.best.epoch == restored:
            self._save()
        elif self.write and not self.path.exists():
            self.best = None  # somebody took it away; what comes is the best there is

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._improves(epoch + 1, logs or {}):
            self._save()

    def _improves(self, epoch: int, row: Mapping[str, float]) -> bool:
        """Whether an epoch is better than all before, which is remembered."""
        value = float(row.get(self.monitor, math.nan))
        least = -math.inf if self.best is None else self._sign * self.best.value
        better = self._sign * value > least
        if better:
            self.best = Best(epoch, value)
        return better

    def _save(self) -> None:
        if not self.write:
            return
        with replacing(self.path) as partial:
            self.model.network.save(partial)
