"""The folder of one training run: what is in it and when it may be written."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from tfrobust.cli.json_values import plain
from tfrobust.cli.program import UsageError
from tfrobust.core.files import partial_path, replacing

EVALUATION = "evaluation.json"
"""What an evaluation writes last, and so what says that one is complete."""


class RunFolder:
    """Paths of a run, and the rules under which it begins, goes on or is replaced.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path).expanduser()
        self.flags = self.path / "run.flags"
        self.metrics = self.path / "metrics.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model.keras"
        self.best = self.path / "best.keras"
        self.epochs = self.path / "epochs"
        self.saved_model = self.path / "saved_model"
        self.curves = self.path / "curves.png"
        self.summary = self.path / "summary.json"
        self.data = self.path / "data.json"

    def check(
        self, lines: Sequence[str], *, resume: bool = False, overwrite: bool = False
    ) -> None:
        """Raises `UsageError` if the run may not be written here; writes nothing.

        Args:
            lines: Of the flagfile that repeats the run.
            resume: Whether the run in the folder is to go on.
            overwrite: Whether it is to be replaced.
        """
        check_writable("workdir", self.path)
        if resume:
            self._check_resume(lines)
        elif self._occupied() and not overwrite:
            raise UsageError(
                f"--workdir={self.path} already holds files; choose another folder, or "
                "go on with --resume, or replace a run with --overwrite."
            )
        elif self._occupied() and not self.flags.exists():
            raise UsageError(
                f"--workdir={self.path} holds files but no run.flags, so --overwrite "
                "will not delete it; choose another folder."
            )

    def stated_flags(self) -> dict[str, str]:
        """The flags that the run began with, as they stand in `run.flags`."""
        pairs = (line[2:].partition("=") for line in _flag_lines_of(self.flags))
        return {name: value for name, _, value in pairs}

    def stated_lines(self) -> set[str]:
        """The lines of `run.flags` that are flags; none where there is no such file."""
        return set(_flag_lines_of(self.flags)) if self.flags.is_file() else set()

    def _occupied(self) -> bool:
        # A run that was killed in its very first moment leaves the one exception.
        unborn = partial_path(self.flags)
        return self.path.is_dir() and any(
            entry != unborn for entry in self.path.iterdir()
        )

    def _check_resume(self, lines: Sequence[str]) -> None:
        if not self.flags.exists():
            raise UsageError(
                f"--resume found no run in --workdir={self.path}, where run.flags "
                "should be."
            )
        if self.summary.exists():
            raise UsageError(f"The run in --workdir={self.path} has finished already.")
        began = set(_flag_lines_of(self.flags))
        now = set(lines)
        if began != now:
            old, new = sorted(began - now), sorted(now - began)
            raise UsageError(
                f"--resume needs the flags that the run in {self.path} began with "
                f"({' '.join(old)}). Received: {' '.join(new)}; "
                f"use --flagfile={self.flags}."
            )

    def begin(self, lines: Sequence[str], *, resume: bool = False) -> None:
        """Makes the folder, clears it of what this run will write, writes `run.flags`.

        Only what a run writes is removed, whatever else lies in the folder; with
        `--resume` only the results, which a run killed at its end may have begun.

        Args:
            lines: Of the flagfile that repeats the run.
            resume: Whether the run in the folder is to go on.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        # The summary goes first, since it says that a run is complete.
        for path in (self.summary, self.curves, self.saved_model, self.model):
            _remove(path)
        if resume:
            return
        along = (self.checkpoints, self.tensorboard, self.metrics, self.best)
        for path in (*along, self.epochs, self.data):
            _remove(path)
        header = [
            "# Repeats this run:",
            "#   tfrobust train --flagfile=THIS --workdir=NEW",
            *(f"# {name} {version}" for name, version in versions().items()),
        ]
        write_text(self.flags, "\n".join([*header, *lines]) + "\n")


def check_writable(flag: str, path: pathlib.Path) -> None:
    """Raises `UsageError` unless `path` is, or can become, a folder to write to.

    Args:
        flag: Name of the flag that named it, for the sentence.
        path: The folder. Nothing is written.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"--{flag}={path} is a file, not a folder.")
    place = path
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise UsageError(
            f"--{flag}={path} cannot be written: {place} is not a folder that this "
            "user may write to."
        )


def run_around(source: pathlib.Path) -> RunFolder | None:
    """The run folder around `RUN/model.keras` or `RUN/saved_model/1`."""
    for folder in source.resolve().parents[:2]:
        run = RunFolder(folder)
        if run.flags.is_file():
            return run
    return None


def model_name(source: pathlib.Path) -> str:
    """What a model is called in tables unless it is given a name."""
    source = source.resolve()
    run = run_around(source)
    # A version is named by its number, the model by the folder around it.
    model = source.parent if source.name.isdigit() else source
    name = model.name.removesuffix(".keras")
    if run is None:
        return name
    return run.path.name if source == run.model else f"{run.path.name} ({name})"


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    import keras
    import numpy
    import tensorflow

    import tfrobust

    return {
        "tfrobust": tfrobust.__version__,
        "tensorflow": tensorflow.__version__,
        "keras": keras.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
    }


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file that is never half there."""
    with replacing(path) as partial:
        partial.write_text(text)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(
    path: pathlib.Path,
    content: dict[str, Any],
    *,
    sort_keys: bool = False,
    default: Callable[[Any], Any] | None = None,
) -> None:
    """Writes a JSON file that people can read, never half of it.

    Args:
        path: The file.
        content: What it holds; NaN and infinity become null, which any reader takes.
        sort_keys: Whether keys are sorted.
        default: What to write for an object that JSON does not have; without it that
            is a `TypeError`.
    """
    text = json.dumps(
        plain(content), indent=2, sort_keys=sort_keys, allow_nan=False, default=default
    )
    write_text(path, text + "\n")


def _flag_lines_of(path: pathlib.Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [line for line in lines if line.startswith("--")]
