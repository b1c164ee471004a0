"""The folder of one training run: what is in it and when it may be written."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import shutil
from typing import Any

from trainers.options import TrainConfig, flag_lines
from trainers.program import UsageError


class RunFolder:
    """Paths of a run, and the rules under which it begins, goes on or is replaced.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self.flags = self.path / "run.flags"
        self.metrics = self.path / "metrics.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model.keras"
        self.saved_model = self.path / "saved_model"
        self.curves = self.path / "curves.png"
        self.summary = self.path / "summary.json"

    def check(self, config: TrainConfig) -> None:
        """Raises `UsageError` if the run may not be written here; writes nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"--workdir={self.path} is a file, not a folder.")
        if config.resume:
            self._check_resume(config)
        elif self._occupied() and not config.overwrite:
            raise UsageError(
                f"--workdir={self.path} already holds files; choose another folder, or "
                "go on with --resume, or replace a run with --overwrite."
            )
        elif self._occupied() and not self.flags.exists():
            raise UsageError(
                f"--workdir={self.path} holds files but no run.flags, so --overwrite "
                "will not delete it; choose another folder."
            )

    def _occupied(self) -> bool:
        return self.path.is_dir() and any(self.path.iterdir())

    def _check_resume(self, config: TrainConfig) -> None:
        if not self.flags.exists():
            raise UsageError(
                f"--resume found no run in --workdir={self.path}, where run.flags "
                "should be."
            )
        if self.summary.exists():
            raise UsageError(f"The run in --workdir={self.path} has finished already.")
        began = set(_flag_lines_of(self.flags))
        now = set(flag_lines(config))
        if began != now:
            old, new = sorted(began - now), sorted(now - began)
            raise UsageError(
                f"--resume needs the flags that the run in {self.path} began with "
                f"({' '.join(old)}). Received: {' '.join(new)}; "
                f"use --flagfile={self.flags}."
            )

    def begin(self, config: TrainConfig) -> None:
        """Makes the folder and writes `run.flags`; replaces a run if told so."""
        if config.overwrite and self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        header = [
            "# Repeats this run: python -m trainers.cifar --flagfile=THIS --workdir=NEW",
            *(f"# {name} {version}" for name, version in versions().items()),
        ]
        write_text(self.flags, "\n".join([*header, *flag_lines(config)]) + "\n")


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
    """Writes a file aside and renames it into place, so that it is never half there."""
    aside = path.with_name(path.name + ".partial")
    aside.write_text(text)
    os.replace(aside, path)


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes a JSON file that people can read, never half of it."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def _flag_lines_of(path: pathlib.Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [line for line in lines if line.startswith("--")]
