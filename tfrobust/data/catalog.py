"""Every data set by its name: built in, prepared in a folder, or from TFDS."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable

from tfrobust.data import shapes, tfds
from tfrobust.data.base import Dataset

_SHAPES = "shapes"


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


def load(
    name: str,
    split: str,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> Dataset:
    """Load one split of a data set whole into memory.

    "shapes" is drawn on the spot. Otherwise, if `data_dir/<name>/<version>` holds a
    folder that TFDS prepared, it is read from there, whether TFDS knows the name or
    not; if not, TFDS loads the data set by its name, downloading it first if need be.

    Args:
        name: "shapes", "cifar10", "cifar100", "mnist", "stl10", "svhn_cropped",
            another TFDS name, or a folder in `data_dir`.
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
    return tfds.load_tfds(name, split, folder, download)


def check(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    splits: Iterable[str] = (),
) -> None:
    """Raise what `load` would raise, before anything starts.

    Takes no more than the import of TFDS. The splits of a data set that TFDS has not
    downloaded yet cannot be known, and pass.

    Args:
        name: As for `load`.
        data_dir: As for `load`.
        splits: The splits that will be loaded.

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
    builder = tfds.make_builder(name, folder)
    for split in splits if builder.info.splits else ():
        tfds.check_split(name, builder, split)


def describe(name: str, data_dir: str | os.PathLike[str] | None = None) -> DatasetInfo:
    """Sizes, image shape and class names, without decoding or downloading an image.

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
    builder = tfds.make_builder(name, folder)
    sizes = {split: part.num_examples for split, part in builder.info.splits.items()}
    shape = tuple(builder.info.features["image"].shape)
    return DatasetInfo(name, sizes, shape, tfds.class_names(builder))


def _folder(data_dir: str | os.PathLike[str] | None) -> pathlib.Path | None:
    """`data_dir` as a path to an existing folder."""
    if data_dir is None:
        return None
    folder = pathlib.Path(data_dir).expanduser()
    if not folder.is_dir():
        raise ValueError(
            f"`data_dir` must be an existing folder, but is {str(data_dir)!r}."
        )
    return folder


def _check_shapes_split(split: str) -> None:
    """Refuse a split other than train and test."""
    if split not in shapes.SPLIT_SIZES:
        raise ValueError(
            f"`split` must be one of {', '.join(shapes.SPLIT_SIZES)} for 'shapes', "
            f"but is {split!r}."
        )
