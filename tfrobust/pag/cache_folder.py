"""The files of a cache of gradients.

A folder holds the gradients, `directions.npy`, and in `directions.json` of what they
are and how many rows of them are there. Rows reach the disk before they are counted and
the count is replaced in one piece, so that a process may be killed at any moment and
the next goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib import format as npy

from tfrobust.core.files import replacing

try:
    import fcntl
except ImportError:  # Windows, where two processes should not fill one folder.
    fcntl = None  # type: ignore[assignment]

_ROWS, _STATE, _LOCK = "directions.npy", "directions.json", "directions.lock"

# What tells caches apart, by the name that a sentence gives it.
_IDENTITY = {"teacher": "teacher", "data": "data set", "shape": "shape"}


class CacheFolder:
    """A folder with the rows of one cache, or none yet.

    Args:
        folder: Where the cache is or will be.
        identity: What it is of: hashes of the `teacher` and the `data`, and the `shape`
            of all rows, `[N,K,H,W,C]`.

    Example:
        >>> import tempfile
        >>> identity = {"teacher": "a", "data": "b", "shape": [2, 1, 1, 1, 1]}
        >>> cache = CacheFolder(tempfile.mkdtemp(), identity)
        >>> cache.reserve()
        >>> cache.count(1)
        >>> cache.finished()
        1
    """

    def __init__(
        self, folder: str | os.PathLike[str], identity: dict[str, Any]
    ) -> None:
        self.path = pathlib.Path(folder).expanduser()
        self.identity = identity

    @property
    def total(self) -> int:
        """How many rows there will be, N."""
        return int(self.identity["shape"][0])

    def finished(self) -> int:
        """How many rows are there, 0 where nothing is.

        Raises:
            ValueError: If the folder holds a cache of something else, or a damaged one.
        """
        if not (self.path / _STATE).exists():
            if (self.path / _ROWS).exists():
                raise ValueError(
                    f"`folder` must have no {_ROWS} that is not a cache's. Received: "
                    f"{self.path}, which has one and no {_STATE}"
                )
            return 0
        count = self._counted()
        if not (self.path / _ROWS).exists():
            return 0
        self._check_rows()
        return count

    def rows(self) -> np.ndarray:
        """All rows, float16 `[N,K,H,W,C]`, read from disk where they are looked at."""
        return np.load(self.path / _ROWS, mmap_mode="r")

    def writable_rows(self) -> np.memmap:
        """All rows, to be written to; `flush` takes them to the disk."""
        return npy.open_memmap(self.path / _ROWS, mode="r+")

    def count(self, rows: int) -> None:
        """Says that so many rows are there.

        Args:
            rows: From 0 to N.
        """
        state = json.dumps({**self.identity, "rows": rows}, indent=2)
        with replacing(self.path / _STATE, sync=True) as partial:
            partial.write_text(state + "\n")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Makes the folder, and waits until no other process fills it.

        The lock ends with the process, also where that is killed.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / _LOCK).open("a") as lock:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def reserve(self) -> None:
        """Makes the file of all rows, of zeros, in one piece, unless it is there.

        Writing to a mapped file whose disk has become full kills the process; so the
        space is taken now, where the lack of it is an error.

        Raises:
            ValueError: If the disk has too little space.
        """
        if (self.path / _ROWS).exists():
            return
        self.count(0)
        shape = tuple(self.identity["shape"])
        with replacing(self.path / _ROWS) as partial:
            self._check_space(2 * math.prod(shape))
            npy.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
            with partial.open("r+b") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)

    def _counted(self) -> int:
        """The count in the state, which must be of this cache."""
        try:
            state = json.loads((self.path / _STATE).read_text())
            count = int(state["rows"])
            stored = {name: state[name] for name in self.identity}
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(_STATE) from error
        self._check_identity(stored)
        if not 0 <= count <= self.total:
            raise self._damaged(_STATE)
        return count

    def _check_identity(self, stored: dict[str, Any]) -> None:
        own = self.identity
        differ = [_IDENTITY[part] for part in own if stored[part] != own[part]]
        if differ:
            raise ValueError(
                "`folder` must hold the gradients of this teacher for these images, or "
                f"none. Received: {self.path}, a cache of another "
                f"{' and another '.join(differ)}"
            )

    def _check_rows(self) -> None:
        try:
            rows = self.rows()
        except (OSError, ValueError) as error:
            raise self._damaged(_ROWS) from error
        if list(rows.shape) != self.identity["shape"] or rows.dtype != np.float16:
            raise self._damaged(_ROWS)

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise ValueError(
                f"`folder` must be on a disk with {needed / 1e9:.2f} GB free. "
                f"Received: {self.path}, on one with {free / 1e9:.2f} GB"
            )

    def _damaged(self, name: str) -> ValueError:
        return ValueError(
            "`folder` must hold a whole cache, or none. Received: "
            f"{self.path}, whose {name} is damaged: remove the folder"
        )


def is_complete(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a cache, of whatever it is, of which no row is missing.

    Args:
        folder: The cache, or a folder that is not there yet.

    Returns:
        False as well where the cache cannot be read or is damaged.

    Example:
        >>> is_complete("nowhere")
        False
    """
    path = pathlib.Path(folder).expanduser()
    try:
        state = json.loads((path / _STATE).read_text())
        cache = CacheFolder(path, {name: state[name] for name in _IDENTITY})
        return 0 < cache.finished() == cache.total
    except (LookupError, OSError, TypeError, ValueError):
        return False
