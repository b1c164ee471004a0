"""Results of attacks on disk, so that an interrupted evaluation can go on."""

from __future__ import annotations

import hashlib
import os
import pathlib
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfrobust.core.files import replacing

# Decimals of the logits that tell one model from another. The rest is what another
# number of threads may change.
_DECIMALS = 3


class Store:
    """Arrays by a digest of everything that they depend on.

    Args:
        folder: Where the files lie; made when the first is written. `None` stores
            nothing.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self._folder = None if folder is None else pathlib.Path(folder).expanduser()

    def __bool__(self) -> bool:
        return self._folder is not None

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays under a key, `None` if there are none that can be read."""
        if self._folder is None:
            return None
        try:
            with np.load(self._folder / f"{key}.npz", allow_pickle=False) as content:
                return dict(content)
        except (OSError, ValueError, zipfile.BadZipFile):
            # Missing, or damaged when a machine went down: computed again.
            return None

    def put(self, key: str, **arrays: Any) -> None:
        """Keeps arrays under a key."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._folder / f"{key}.npz", sync=True) as partial:
            np.savez(partial, **arrays)


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


def coarse(logits: np.ndarray) -> np.ndarray:
    """Logits without the digits that rounding may change.

    Example:
        >>> coarse(np.array([0.12349, -2.0])).tolist()
        [0.123, -2.0]
    """
    # Without this, -0.0 and 0.0 would have different bytes.
    return np.round(logits.astype(np.float64), _DECIMALS) + 0.0
