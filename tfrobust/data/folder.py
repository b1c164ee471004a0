"""A folder of class folders, or of numbered images: their classes and splits."""

from __future__ import annotations

import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tfrobust.data.formats import EXTENSIONS
from tfrobust.data.source import Source, refusal
from tfrobust.data.split import shuffled, split

_TRAIN, _TEST, _VAL = "train", "test", "val"
_SPLITS = (_TRAIN, _VAL, _TEST)
# Without leading zeros: `val_00000293` is the 293rd image, and not one of class 293.
_NUMBER = re.compile(r"(?:^|_)(0|[1-9][0-9]{0,8})$")
# What systems leave in folders; what begins with a dot is passed over too.
_LITTER = ("thumbs.db", "desktop.ini", "__macosx")


class Listed(NamedTuple):
    """The images of a split.

    Attributes:
        files: Their paths, as text.
        labels: int32 `(N,)`.
    """

    files: tuple[str, ...]
    labels: np.ndarray


class Listing(NamedTuple):
    """What a folder holds.

    Attributes:
        splits: "train" and "test", and "val" where the folder has a `val/` beside a
            `test/`. Of a folder of numbered images "test" alone.
        class_names: Names of the class folders in alphabetical order, which is that of
            labels; of numbered images the numbers from 0 on.
        stamp: Path, size and time of change of every file: what is equal is unchanged.
    """

    splits: dict[str, Listed]
    class_names: tuple[str, ...]
    stamp: tuple[tuple[str, int, int], ...]


def listing(source: Source) -> Listing:
    """Lists the images of a folder, by their names alone: none is opened.

    The folder has a subfolder for each class, or `train/`, `test/` and perhaps `val/`
    that have. With `train/` and `val/` alone, `val/` is the test split. The images of a
    split come in an order that is fixed by the seed and the names of the files.

    With `source.classes`, the images lie in the folder itself, and the name of each
    ends in the number of its class, by itself or behind an underscore: `7.png`,
    `00_243.jpg`. All are test images, in the order of their names: this is for a few
    images of a network that tells many classes apart.

    Args:
        source: A folder.

    Returns:
        Its images.

    Raises:
        ValueError: If there is no such folder; if anything but images, or no image,
            lies in a class folder; if two classes differ in upper and lower case alone;
            if a class is only in `test/`, or has one image only where they are to be
            split; if a numbered image has no number below the number of classes.
    """
    root = source.path
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise refusal("lead to an existing folder", f"{root}, which {problem}")
    if source.classes is not None:
        test = _numbered(source, source.classes)
        names = tuple(map(str, range(source.classes)))
        return Listing({_TEST: test}, names, _stamp(test.files))
    folders = _subfolders(root)
    if not folders:
        raise refusal(
            "lead to a folder with a subfolder for each class",
            f"{root}, which has no subfolder",
        )
    _check_no_loose_image(root)
    if _is_split(root, folders):
        parts = _presplit(source, folders)
        names = _class_names(root / _TRAIN)
    else:
        names = _class_names(root)
        parts = _split_here(source, _listed(root, names))
    stamp = _stamp(each for part in parts.values() for each in part.files)
    return Listing(parts, names, stamp)


def _numbered(source: Source, classes: int) -> Listed:
    """The images of a folder whose names say their class."""
    root = source.path
    if source.test is not None or source.seed is not None:
        raise refusal(
            "leave `test` and `seed` out where `classes` is given, as all images are "
            "tested on",
            f"{root} with classes={classes}",
        )
    files = [entry.path for entry in _entries(root) if _is_image(entry.name)]
    if not files:
        raise refusal("lead to a folder with images", f"{root}, which has none")
    labels = []
    for file in files:
        number = _NUMBER.search(pathlib.Path(file).stem)
        if number is None or int(number[1]) >= classes:
            raise refusal(
                f"have images whose names end in a class from 0 to {classes - 1}, such "
                "as 00_1.jpg",
                file,
            )
        labels.append(int(number[1]))
    return Listed(tuple(files), np.array(labels, np.int32))


def _is_split(root: pathlib.Path, folders: list[str]) -> bool:
    """Whether subfolders are splits; `train` may also be a class of vehicles."""
    if _TRAIN not in folders or not _subfolders(root / _TRAIN):
        return False
    others = [name for name in folders if name not in _SPLITS]
    if others or len(folders) == 1:
        what = f"{others[0]}/ beside" if others else "neither beside"
        raise refusal(
            "lead to a folder of classes, or one with train/, test/ or val/, and "
            "nothing else",
            f"{root}, which has train/ with folders in it and {what} it",
        )
    return True


def _presplit(source: Source, folders: list[str]) -> dict[str, Listed]:
    """The splits of a folder that has them."""
    root = source.path
    if source.test is not None or source.seed is not None:
        raise refusal(
            "leave `test` and `seed` out where the folder has splits of its own",
            f"{root}, which has {' and '.join(f'{name}/' for name in folders)}",
        )
    names = _class_names(root / _TRAIN)
    parts = {}
    for name in folders:
        for other in _class_names(root / name):
            if other not in names:
                raise refusal(
                    "have every class in train/",
                    f"{root / name / other}, a class that train/ lacks",
                )
        own = _listed(root / name, names)
        order = shuffled(_keys(root / name, own.files), source.split_seed)
        parts[name] = _take(own, order)
    if _TEST not in parts:
        parts[_TEST] = parts.pop(_VAL)
    return parts


def _split_here(source: Source, whole: Listed) -> dict[str, Listed]:
    """The splits of a folder that has none."""
    counts = np.bincount(whole.labels)
    if counts.min() < 2:
        lonely = whole.files[int(np.flatnonzero(whole.labels == counts.argmin())[0])]
        raise refusal(
            "have at least two images of each class, one to train on and one to test",
            f"{lonely}, the only one of its class",
        )
    train, test = split(
        _keys(source.path, whole.files),
        whole.labels,
        source.test_share,
        source.split_seed,
    )
    return {_TRAIN: _take(whole, train), _TEST: _take(whole, test)}


def _take(listed: Listed, order: np.ndarray) -> Listed:
    return Listed(tuple(listed.files[i] for i in order), listed.labels[order])


def _keys(root: pathlib.Path, files: Iterable[str]) -> list[str]:
    """`class/file`, the same on every machine."""
    return [
        unicodedata.normalize("NFC", pathlib.Path(file).relative_to(root).as_posix())
        for file in files
    ]


def _class_names(root: pathlib.Path) -> tuple[str, ...]:
    """The class folders in alphabetical order."""
    names = _subfolders(root)
    alike: dict[str, str] = {}
    for name in names:
        other = alike.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if other != name:
            raise refusal(
                "have classes whose names differ in more than upper and lower case",
                f"{root / other} and {root / name}",
            )
    if len(names) < 2:
        alone = f"only {names[0]}" if names else "no folder"
        raise refusal(
            "have a folder for each of at least two classes",
            f"{root}, which has {alone}",
        )
    return tuple(names)


def _listed(root: pathlib.Path, names: tuple[str, ...]) -> Listed:
    """The images below class folders, sorted by class and file."""
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if not (root / name).exists():
            continue  # A class without test images.
        own = _images(root / name)
        files += own
        labels += [label] * len(own)
    return Listed(tuple(files), np.array(labels, np.int32))


def _images(folder: pathlib.Path) -> list[str]:
    """The images in a class folder, by their names."""
    found = []
    for entry in _entries(folder):
        if entry.is_dir():
            raise refusal(
                "have images, and no folders, in its class folders",
                f"{entry.path}, a folder",
            )
        if not _is_image(entry.name):
            raise refusal(
                f"have nothing but images ({', '.join(EXTENSIONS)}) in its class "
                "folders",
                entry.path,
            )
        found.append(entry.path)
    if not found:
        raise refusal("have an image in each class folder", f"{folder}, which has none")
    return found


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _check_no_loose_image(root: pathlib.Path) -> None:
    """Refuses an image that has no class; other files beside classes may be notes."""
    for entry in _entries(root):
        if _is_image(entry.name) and not entry.is_dir():
            raise refusal(
                "have every image in the folder of its class",
                f"{entry.path}, which is in none",
            )


def _subfolders(root: pathlib.Path) -> list[str]:
    return [entry.name for entry in _entries(root) if entry.is_dir()]


def _entries(folder: pathlib.Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name, without what systems leave there."""
    try:
        with os.scandir(folder) as entries:
            kept = [
                entry
                for entry in entries
                if not entry.name.startswith(".") and entry.name.lower() not in _LITTER
            ]
    except OSError as error:
        raise refusal(
            "lead to folders that can be read", f"{folder}: {error.strerror}"
        ) from error
    return sorted(kept, key=lambda entry: entry.name)


def _stamp(files: Iterable[str]) -> tuple[tuple[str, int, int], ...]:
    found = []
    for file in files:
        try:
            about = os.stat(file)
        except OSError as error:
            raise refusal(
                "lead to images that can be read", f"{file}: {error.strerror}"
            ) from error
        found.append((file, about.st_size, about.st_mtime_ns))
    return tuple(sorted(found))
