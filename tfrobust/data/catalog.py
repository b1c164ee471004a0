"""Every data set by its name: built in, files of one's own, prepared, or of TFDS."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from tfrobust.data import own, shapes, tfds
from tfrobust.data.base import Dataset
from tfrobust.data.decode import Progress
from tfrobust.data.source import KINDS, is_source

_SHAPES = "shapes"

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_OWN: dict[str, Callable[[str], Dataset]] = {}


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before an image is decoded.

    Args:
        name: As given to `load`.
        sizes: Examples in each split; empty before TFDS has downloaded the data.
        image_shape: `(height, width, channels)`.
        class_names: In label order.

    Example:
        >>> describe("shapes").sizes
        {'train': 10000, 'test': 2000}
    """

    name: str
    sizes: dict[str, int]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return len(self.class_names)


_Loader = TypeVar("_Loader", bound=Callable[[str], Dataset])


def register(name: str) -> Callable[[_Loader], _Loader]:
    """Makes a data set known by name; a decorator of the function that loads it.

    Args:
        name: Lower-case letters, digits and underscores, a letter first.

    Returns:
        A function that registers a function and returns it. What it registers takes the
        name of a split, "train" or "test", and returns a `Dataset`, or raises
        `ValueError` for a split that it does not have. It is called once for each
        split, whose images stay in memory.

    Raises:
        ValueError: If the name is malformed or belongs to another data set.

    Example:
        >>> import numpy as np
        >>> from tfrobust import data
        >>> @data.register("noise")
        ... def load_noise(split):
        ...     draw = np.random.default_rng(["train", "test"].index(split))
        ...     images = draw.integers(0, 256, (50, 8, 8, 1), np.uint8)
        ...     return data.Dataset("noise", images, np.arange(50) % 2, ("even", "odd"))
        >>> data.describe("noise").sizes, data.load("noise", "test").image_shape
        ({'train': 50, 'test': 50}, (8, 8, 1))
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "The name of a registered data set must be lower-case letters, digits and "
            f"underscores, a letter first. Received: {name!r}"
        )
    if name in _OWN or name in (_SHAPES, *KINDS):
        raise ValueError(
            f"The name of a registered data set must be new. Received: {name!r}"
        )

    def add(loader: _Loader) -> _Loader:
        try:
            inspect.signature(loader).bind("train")
        except TypeError as error:
            raise ValueError(
                f"The function of a registered data set must take the name of a split. "
                f"Received: {name!r}, whose function does not ({error})"
            ) from error
        _OWN[name] = functools.cache(functools.partial(_load_own, name, loader))
        return loader

    return add


def _load_own(name: str, loader: Callable[[str], Dataset], split: str) -> Dataset:
    """What a registered function returns for a split, if it is a `Dataset`."""
    dataset = loader(split)
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"The registered data set {name!r} must return a `tfrobust.data.Dataset`. "
            f"Received: a {type(dataset).__name__} for the split {split!r}"
        )
    return dataset


def _check_alike(name: str, train: Dataset, test: Dataset) -> None:
    """Refuse splits of other image shapes or classes."""
    for what in ("image_shape", "class_names"):
        first, second = getattr(train, what), getattr(test, what)
        if first != second:
            raise ValueError(
                f"Both splits of the registered data set {name!r} must have the same "
                f"{what}. Received: {first} for train, {second} for test"
            )


def load(
    name: str,
    split: str,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> Dataset:
    """Load one split of a data set whole into memory.

    "shapes" is drawn on the spot, a name of `register` is loaded by its function, and
    files of your own are read from where they lie: see `tfrobust.data.source.parse` for
    the settings of such a name, `tfrobust.data.folder.listing` and
    `tfrobust.data.npz.read_npz` for what may be there. Otherwise, if
    `data_dir/<name>/<version>` holds a folder that TFDS prepared, it is read from
    there, whether TFDS knows the name or not; if not, TFDS loads the data set by its
    name, downloading it first if need be.

    Args:
        name: "shapes", "cifar10", "cifar100", "mnist", "stl10", "svhn_cropped",
            another TFDS name, a folder in `data_dir`, a registered name,
            "folder:PATH" for images in class folders, or "npz:FILE" for arrays.
        split: "train", "test", or what else the data set has. With TFDS also a slice:
            "train[:10%]".
        data_dir: An existing folder of prepared data sets, where downloads go as
            well. By default TFDS's own, `~/tensorflow_datasets`.
        download: Whether a missing data set may be downloaded.

    Returns:
        The examples in the order in which they are stored.

    Raises:
        ValueError: If there is no such data set, split or folder; if images differ in
            size or examples have no class; or if the data set is not prepared and
            `download` is false.

    Example:
        >>> test = load("shapes", "test")
        >>> len(test), test.image_shape
        (2000, (32, 32, 3))
    """
    folder = _folder(data_dir)
    if name == _SHAPES:
        _check_shapes_split(split)
        return shapes.load_shapes(split)
    if name in _OWN:
        return _OWN[name](split)
    if is_source(name):
        return own.read_split(name, split)
    return tfds.load_tfds(name, split, folder, download)


def check(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    splits: Iterable[str] = (),
    progress: Progress | None = None,
) -> None:
    """Raise what `load` would raise, before anything starts.

    Takes no more than the import of TFDS, except for files of your own: every image is
    decoded, once, and kept for `load`. The splits of a data set that TFDS has not
    downloaded yet cannot be known, and pass.

    Args:
        name: As for `load`.
        data_dir: As for `load`.
        splits: The splits that will be loaded.
        progress: Called with an iterable and its length while a folder of images is
            read, and returns the same iterable; it may show how far it is.

    Raises:
        ValueError: If there is no such data set, split or folder, or the data set is
            not one of equally large images with class labels.

    Example:
        >>> check("shapes", splits=("train", "test"))
    """
    folder = _folder(data_dir)
    if name == _SHAPES:
        for split in splits:
            _check_shapes_split(split)
        return
    if name in _OWN:
        for split in splits:
            _OWN[name](split)
        return
    if is_source(name):
        there = own.read_splits(name, progress)
        for split in splits:
            own.check_split(name, split, there)
        return
    builder = tfds.make_builder(name, folder)
    for split in splits if builder.info.splits else ():
        tfds.check_split(name, builder, split)


def describe(name: str, data_dir: str | os.PathLike[str] | None = None) -> DatasetInfo:
    """Sizes, image shape and class names, without downloading an image.

    None is decoded either, but those of your own files, once for this and `load`.

    Args:
        name: As for `load`.
        data_dir: As for `load`.

    Returns:
        A `DatasetInfo`.

    Raises:
        ValueError: As for `check`.

    Example:
        >>> describe("shapes").class_names[:3]
        ('circle', 'ring', 'square')
    """
    folder = _folder(data_dir)
    if name == _SHAPES:
        shape = (shapes.SIZE, shapes.SIZE, 3)
        return DatasetInfo(name, dict(shapes.SPLIT_SIZES), shape, shapes.CLASS_NAMES)
    if name in _OWN:
        parts = {split: _OWN[name](split) for split in ("train", "test")}
        _check_alike(name, parts["train"], parts["test"])
        return _info_of(name, parts)
    if is_source(name):
        return _info_of(name, own.read_splits(name))
    builder = tfds.make_builder(name, folder)
    sizes = {split: part.num_examples for split, part in builder.info.splits.items()}
    shape = tuple(builder.info.features["image"].shape)
    return DatasetInfo(name, sizes, shape, tfds.class_names(builder))


def _info_of(name: str, parts: dict[str, Dataset]) -> DatasetInfo:
    """What is known of a data set that is there."""
    counts = {split: len(part) for split, part in parts.items()}
    test = parts["test"]
    return DatasetInfo(name, counts, test.image_shape, test.class_names)


def _folder(data_dir: str | os.PathLike[str] | None) -> pathlib.Path | None:
    """`data_dir` as a path to an existing folder."""
    if data_dir is None:
        return None
    folder = pathlib.Path(data_dir).expanduser()
    if not folder.is_dir():
        raise ValueError(
            f"`data_dir` must be an existing folder. "
            f"Received: data_dir={str(data_dir)!r}"
        )
    return folder


def _check_shapes_split(split: str) -> None:
    """Refuse a split other than train and test."""
    if split not in shapes.SPLIT_SIZES:
        raise ValueError(
            f"`split` must be one of {', '.join(shapes.SPLIT_SIZES)} for 'shapes'. "
            f"Received: split={split!r}"
        )
