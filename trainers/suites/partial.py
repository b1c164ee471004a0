"""What an evaluation has measured so far, kept in its folder until it is complete.

An evaluation that is killed leaves the folder `partial`; the same command goes on with
what is in it. Nothing here imports TensorFlow: most mistakes are refused before that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfrobust.cli.run_folder import write_json, write_text
from tfrobust.core.files import replacing

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class Partial:
    """The folder `partial` of one evaluation; it is made once something is kept.

    Args:
        out: The folder of the evaluation.
        lines: Of the flagfile that repeats it, which the folder remembers.
    """

    out: pathlib.Path
    lines: Sequence[str]

    @property
    def path(self) -> pathlib.Path:
        """The folder."""
        return self.out / "partial"

    @property
    def _flags(self) -> pathlib.Path:
        return self.path / "evaluation.flags"

    def exists(self) -> bool:
        """Whether an evaluation has left something."""
        return self.path.is_dir()

    def is_of_these_flags(self) -> bool:
        """Whether it was left by an evaluation with the same flags."""
        return self._flags.is_file() and self._stated() == set(self.lines)

    def differences(self) -> tuple[list[str], list[str]]:
        """The flags that only the evaluation that left it had, and only this one."""
        before, now = self._stated(), set(self.lines)
        return sorted(before - now), sorted(now - before)

    def begin(self) -> None:
        """Removes what an evaluation with other flags has left."""
        if self.exists() and not self.is_of_these_flags():
            self.remove()

    def remove(self) -> None:
        """Removes the folder, and the one around it if nothing else is in that."""
        if self.exists():
            shutil.rmtree(self.path)
            if not any(self.out.iterdir()):
                self.out.rmdir()

    def room(self, *parts: str) -> Room:
        """A folder inside for what one suite measures of one model, which is made.

        Args:
            *parts: What it is of; other texts, another folder.
        """
        name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
        self.path.mkdir(parents=True, exist_ok=True)
        if not self._flags.is_file():
            write_text(self._flags, "\n".join(self.lines) + "\n")
        room = self.path / name
        room.mkdir(exist_ok=True)
        return Room(room)

    def _stated(self) -> set[str]:
        if not self._flags.is_file():
            return set()
        return set(self._flags.read_text(encoding="utf-8").splitlines())


@dataclasses.dataclass(frozen=True)
class Room:
    """A folder of results that need not be measured again.

    Args:
        path: The folder.
    """

    path: pathlib.Path

    def arrays(
        self, name: str, measure: Callable[[], Mapping[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Arrays by name: those that are kept, or else measured now and kept.

        Args:
            name: Of what is measured; part of a file name.
            measure: Measures it.
        """
        import numpy as np

        file = self.path / f"{name}.npz"
        try:
            with np.load(file, allow_pickle=False) as kept:
                return dict(kept)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
            pass  # Missing, or damaged when the machine went down.
        measured = dict(measure())
        with replacing(file, sync=True) as partial:
            np.savez(partial, **measured)  # type: ignore[arg-type]
        return {key: np.asarray(value) for key, value in measured.items()}

    def content(self, name: str, measure: Callable[[], dict[str, Any]]) -> Any:
        """The same of an object that JSON has.

        Args:
            name: As for `arrays`.
            measure: Measures it.
        """
        file = self.path / f"{name}.json"
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            write_json(file, measure())
        return json.loads(file.read_text(encoding="utf-8"))


def fingerprint(source: str | os.PathLike[str]) -> str:
    """A text that changes with the files of a model.

    Args:
        source: A file, a folder, or a name with a file in it, such as
            `robustbench:net.pt:wideresnet-28-10`.

    Example:
        >>> fingerprint("pretrained:mnist_c4") == fingerprint("pretrained:mnist_c4")
        True
    """
    digest = hashlib.sha256(str(source).encode())
    for part in (str(source), *str(source).split(":")):
        for file in _files(pathlib.Path(part).expanduser()):
            digest.update(str(file).encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _files(place: pathlib.Path) -> Iterator[pathlib.Path]:
    """The file, or those in a folder, in a fixed order."""
    if place.is_file():
        yield place
    elif place.is_dir():
        yield from sorted(path for path in place.rglob("*") if path.is_file())
