"""Versions of a served name, and whether clients would notice the next one.

A server goes over to the newest version by itself, so what its clients rely on has to
be there still.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from export.card import signatures_of
from tfrobust.models.served import numbered_versions


def versions(directory: str | os.PathLike[str]) -> list[int]:
    """The version numbers taken below a directory, in rising order."""
    return [number for number, _ in numbered_versions(directory)]


def check_clients(target: Path, written: Path) -> None:
    """Refuse a version that clients of the newest one would notice.

    Args:
        target: Folder of the versions. The newest that holds a model counts.
        written: Folder of the one that is to come.

    Raises:
        FileExistsError: If it lacks a signature or a tensor, takes less, or says more
            than that one may.
    """
    for _, newest in reversed(numbered_versions(target)):
        try:
            before = signatures_of(newest)
        except (FileNotFoundError, NotADirectoryError, DecodeError):
            # No model that a server could have loaded.
            continue
        changed = changes(before, signatures_of(written))
        if changed:
            raise FileExistsError(
                "`overwrite` must be set for a version that answers clients of "
                f"{newest} otherwise. Received: a model with {', '.join(changed)}"
            )
        return


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What a client of one model would notice of another, in words.

    An input may take more than before, and an output be of a narrower kind.

    Args:
        before: What `signatures_of` says of the older model.
        after: And of the newer.

    Example:
        >>> image = {"dtype": "float32", "shape": [None, 8, 8, 3]}
        >>> changes({"serve": {"inputs": {"images": image}, "outputs": {}}}, {})
        ['no signature serve']
    """
    differences = []
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            differences.append(f"no signature {name}")
            continue
        for tensor in sorted(new["inputs"].keys() - old["inputs"].keys()):
            differences.append(f"one more input of {name}, {tensor}")
        for side in ("inputs", "outputs"):
            for tensor, was in old[side].items():
                has = new[side].get(tensor)
                text = f"{tensor} {_in_words(was)}"
                if has is None:
                    differences.append(f"{side} of {name} without {text}")
                elif not (_within(was, has) if side == "inputs" else _within(has, was)):
                    differences.append(
                        f"{side} of {name} with {_in_words(has)} for {text}"
                    )
    return differences


def _within(narrow: dict[str, Any], wide: dict[str, Any]) -> bool:
    """Whether every tensor of the narrow kind is of the wide kind."""
    sizes, wider = narrow["shape"], wide["shape"]
    return narrow["dtype"] == wide["dtype"] and (
        wider is None
        or sizes is not None
        and len(sizes) == len(wider)
        and all(w in (None, size) for size, w in zip(sizes, wider, strict=True))
    )


def _in_words(tensor: dict[str, Any]) -> str:
    """Such as `float32 [?,32,32,3]`."""
    if tensor["shape"] is None:
        return f"{tensor['dtype']} of any rank"
    sides = ["?" if side is None else str(side) for side in tensor["shape"]]
    return f"{tensor['dtype']} [{','.join(sides)}]"
