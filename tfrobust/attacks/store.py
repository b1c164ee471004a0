"""Results of attacks on disk, so that an interrupted evaluation can go on."""

from __future__ import annotations

import hashlib
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfrobust.core.files import replacing

# Share of the spread of an array by which two may differ and be the same: another
# number of threads adds up in another order.
_ROUNDING = 1e-3


class Store:
    """Arrays by a digest of what they depend on.

    Args:
        folder: Where the files lie; made when the first is written. `None` stores
            nothing.

    Attributes:
        model: The name of the model whose results are kept, once it has begun.
        at_random: Whether that answers at random.

    Raises:
        ValueError: If `folder` is a file.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self._folder = None if folder is None else pathlib.Path(folder).expanduser()
        self.model, self.at_random = "", False
        if self._folder is not None and self._folder.is_file():
            raise ValueError(f"`folder` must be a folder. Received: the file {folder}")

    def __bool__(self) -> bool:
        return self._folder is not None

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays under a key, `None` if there are none that can be read."""
        if self._folder is None:
            return None
        try:
            with np.load(self._folder / f"{key}.npz", allow_pickle=False) as content:
                return dict(content)
        except (
            OSError,
            ValueError,
            EOFError,
            KeyError,
            zipfile.BadZipFile,
            zlib.error,
        ):
            # Missing, or damaged when a machine went down: computed again.
            return None

    def put(self, key: str, **arrays: Any) -> None:
        """Keeps arrays under a key."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._folder / f"{key}.npz", sync=True) as partial:
            np.savez(partial, **arrays)

    def begin(self, exact: str, probe: Mapping[str, np.ndarray] | None) -> None:
        """Says of which model results are kept and asked for from now on.

        Args:
            exact: As for `name_of`.
            probe: As for `name_of`; `None` of a model that answers at random.
        """
        self.model, self.at_random = self.name_of(exact, probe), probe is None

    def name_of(self, exact: str, probe: Mapping[str, np.ndarray] | None) -> str:
        """A name for what has this digest and this probe, the same each time.

        Args:
            exact: The digest.
            probe: Arrays that are equal up to rounding where it is the same; kept
                under the name when they are first seen. `None` compares nothing.
        """
        if probe is None:
            return exact
        number = 0
        while (kept := self.get(f"{exact}-{number}")) is not None:
            alike = kept.keys() == probe.keys()
            if alike and all(close(kept[each], probe[each]) for each in probe):
                return f"{exact}-{number}"
            number += 1
        self.put(f"{exact}-{number}", **probe)
        return f"{exact}-{number}"


def digest(parts: Iterable[Any]) -> str:
    """A name for texts and arrays: equal for equal ones, and for no others.

    Example:
        >>> digest(["pgd", np.zeros(2)]) == digest(["pgd", np.zeros(2)])
        True
        >>> digest(["pgd", np.zeros(2)]) == digest(["pgd", np.zeros(3)])
        False
    """
    whole = hashlib.sha256()
    for part in parts:
        array = np.asarray(part)
        about = f"{array.dtype.str} {array.shape} "
        whole.update(about.encode() + np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()[:32]


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are equal up to rounding, whatever the size of their numbers.

    Example:
        >>> close(np.array([0.0, 1e-6]), np.array([0.0, 1.0001e-6]))
        True
        >>> close(np.array([0.0, 1e-6]), np.array([0.0, 1.1e-6]))
        False
    """
    if one.shape != other.shape or not one.size:
        return one.shape == other.shape
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return bool(np.array_equal(one, other, equal_nan=True))
    apart = np.max(np.abs(one.astype(np.float64) - other))
    return bool(apart <= _ROUNDING * np.ptp(one.astype(np.float64)))
