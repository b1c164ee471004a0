"""Data sets that are files of one's own, read once: `folder:PATH` and `npz:FILE`."""

from __future__ import annotations

import hashlib
import pathlib
import warnings
from typing import Any

from tfrobust.data.base import Dataset
from tfrobust.data.decode import Progress, read_images
from tfrobust.data.folder import Listing, listing
from tfrobust.data.formats import check_header, is_turned
from tfrobust.data.npz import read_npz
from tfrobust.data.source import FOLDER, Source, parse, refusal

# The last one that was read, with all that it depends on: its source and its files.
_LAST: dict[tuple[Any, ...], dict[str, Dataset]] = {}


def read_splits(name: str, progress: Progress | None = None) -> dict[str, Dataset]:
    """Every split of a data set, whole in memory; the last one read is kept.

    Args:
        name: `folder:PATH` or `npz:FILE`, with settings.
        progress: Shows how far the reading of a folder is.

    Returns:
        "train" and "test", and "val" of a folder that has one beside its test images;
        of a folder of numbered images "test" alone.

    Raises:
        ValueError: If it cannot be used, with the file that is to blame.
    """
    source = parse(name)
    if source.kind == FOLDER:
        found = listing(source)
        key: tuple[Any, ...] = (name, source, found.stamp)
        if key not in _LAST:
            _keep(key, _read_folder(name, source, found, progress))
        return _LAST[key]
    try:
        about = source.path.stat()
        key = (name, source, (about.st_size, about.st_mtime_ns))
    except OSError:
        key = (name, source)  # `read_npz` says what is wrong.
    if key not in _LAST:
        _keep(key, read_npz(name, source))
    return _LAST[key]


def read_split(name: str, split: str) -> Dataset:
    """One split of a data set; `ValueError` if it has none of that name."""
    splits = read_splits(name)
    check_split(name, split, splits)
    return splits[split]


def check_split(name: str, split: str, splits: dict[str, Dataset]) -> None:
    """Raises `ValueError` if there is no split of that name."""
    if split not in splits:
        raise ValueError(
            f"`split` must be one of {', '.join(splits)} for {name!r}. "
            f"Received: split={split!r}"
        )


def files_of(name: str, split: str) -> tuple[str, ...]:
    """Where each image of a split lies below its folder, in the order of the split.

    Args:
        name: `folder:PATH` with settings; of another data set there are no files.
        split: "train", "test" or "val".

    Returns:
        `class/file`, or `test/class/file` where the folder has splits; empty of what is
        no folder.

    Raises:
        ValueError: If the folder cannot be used or has no such split.

    Example:
        >>> files_of("shapes", "test")
        ()
    """
    if not name.startswith(f"{FOLDER}:"):
        return ()
    source = parse(name)
    splits = listing(source).splits
    if split not in splits:
        raise refusal(f"have a split {split!r}", f"{name}, with {', '.join(splits)}")
    return tuple(
        pathlib.Path(file).relative_to(source.path).as_posix()
        for file in splits[split].files
    )


def _keep(key: tuple[Any, ...], splits: dict[str, Dataset]) -> None:
    _LAST.clear()
    if "train" in splits:
        _warn_of_copies(splits["train"], splits["test"])
    _LAST[key] = splits


def _warn_of_copies(train: Dataset, test: Dataset) -> None:
    """Says how many test images are trained on as well, pixel for pixel."""
    known = {hashlib.sha256(image.data).digest() for image in train.images}
    copies = [hashlib.sha256(image.data).digest() in known for image in test.images]
    if any(copies):
        warnings.warn(
            f"{sum(copies)} of {len(test)} test images of {test.name!r} are among its "
            f"training images, pixel for pixel, the first at {copies.index(True)}",
            stacklevel=2,
        )


def _read_folder(
    name: str, source: Source, found: Listing, progress: Progress | None
) -> dict[str, Dataset]:
    """All splits, decoded together: they must have one size."""
    files = [file for part in found.splits.values() for file in part.files]
    turned = [file for file in files if is_turned(check_header(file))]
    if turned:
        warnings.warn(
            f"{len(turned)} of {len(files)} images of {name!r} are read as they are "
            "stored, not turned as the camera noted (EXIF orientation), such as "
            f"{turned[0]}",
            stacklevel=2,
        )
    images = read_images(files, source, progress)
    splits, first = {}, 0
    for split, part in found.splits.items():
        rows = slice(first, first + len(part.files))
        splits[split] = Dataset(name, images[rows], part.labels, found.class_names)
        first = rows.stop
    return splits
