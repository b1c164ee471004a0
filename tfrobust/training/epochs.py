"""Networks kept along the way, to look at how they came to be."""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

import keras

from tfrobust.core.files import replacing
from tfrobust.settings import require_steps

_NAME = re.compile(r"epoch-(\d+)\.keras")


class KeepEpochs(keras.callbacks.Callback):
    """Saves a `RobustModel`'s network after each so many epochs, and after the last.

    Files are called `epoch-007.keras`, and each is whole at every moment. List it
    before `RestartPoints`: an epoch whose file a killed run has not written is then
    trained again.

    Args:
        folder: Where to; made if it does not exist.
        every: Keep each so many epochs.
        write: Whether this process writes; `False` on workers that are not the chief.

    Raises:
        ValueError: If `every` is not an integer of at least 1.

    Example:
        >>> KeepEpochs("epochs", every=5).path(10).name
        'epoch-010.keras'
    """

    def __init__(
        self, folder: str | os.PathLike[str], every: int = 1, write: bool = True
    ) -> None:
        super().__init__()
        require_steps("every", every)
        self.folder = pathlib.Path(folder)
        self.every = every
        self.write = write
        self._last = 0

    def path(self, epoch: int) -> pathlib.Path:
        """The file of an epoch, counted from 1."""
        return self.folder / f"epoch-{epoch:03d}.keras"

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._last = epoch + 1
        if self._last % self.every == 0 or self._last == self.params.get("epochs"):
            self._keep(self._last)

    def on_train_end(self, logs: Any = None) -> None:
        # Another callback may have stopped the training early.
        if self._last and not self.path(self._last).exists():
            self._keep(self._last)

    def _keep(self, epoch: int) -> None:
        if not self.write:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.path(epoch)) as partial:
            self.model.network.save(partial)


def kept_epochs(folder: str | os.PathLike[str]) -> dict[int, pathlib.Path]:
    """The files of `KeepEpochs` in a folder.

    Args:
        folder: The folder; one that does not exist holds none.

    Returns:
        `{epoch: file}`, rising.

    Example:
        >>> kept_epochs("nowhere")
        {}
    """
    place = pathlib.Path(folder)
    entries = place.iterdir() if place.is_dir() else ()
    matches = [(_NAME.fullmatch(entry.name), entry) for entry in entries]
    return dict(sorted((int(name[1]), entry) for name, entry in matches if name))
