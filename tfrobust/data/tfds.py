"""Image classification data sets of TensorFlow Datasets, read whole into memory.

A folder that TFDS prepared is read where it lies, with no network; anything else is
left to TFDS's own download. `tensorflow_datasets` is imported only where it is needed.
"""

from __future__ import annotations

import contextlib
import logging
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrobust.data.base import Dataset

if TYPE_CHECKING:
    import tensorflow_datasets

# Named in error messages; any registered data set with `image` and `label` loads.
COMMON_NAMES = ("cifar10", "cifar100", "mnist", "stl10", "svhn_cropped")

_DTYPE_WARNING = "`FeatureConnector.dtype` is deprecated."


def prepared(data_dir: pathlib.Path) -> dict[str, pathlib.Path]:
    """Prepared data sets in a folder: `{name: newest version's folder}`.

    A data set lies at `data_dir/<name>/<version>/dataset_info.json`.

    Args:
        data_dir: An existing folder.

    Returns:
        Names in alphabetical order; empty where there are none.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as empty:
        ...     prepared(pathlib.Path(empty))
        {}
    """
    folders: dict[str, pathlib.Path] = {}
    infos = data_dir.glob("*/*/dataset_info.json")
    for folder in sorted((info.parent for info in infos), key=_by_name_and_version):
        folders[folder.parent.name] = folder
    return folders


def make_builder(
    name: str, data_dir: pathlib.Path | None
) -> tensorflow_datasets.core.DatasetBuilder:
    """The TFDS builder of a data set; nothing is downloaded or decoded.

    Args:
        name: A prepared folder in `data_dir`, or a name that TFDS knows.
        data_dir: An existing folder, or `None` for TFDS's own.

    Returns:
        A builder whose data set has equally large images with class labels.

    Raises:
        ValueError: If there is no such data set, or it is not one of equally large
            images with class labels.
    """
    tfds = _import_tfds()
    folders = prepared(data_dir) if data_dir else {}
    if name in folders:
        builder = tfds.builder_from_directory(folders[name])
    elif _base_name(name) in tfds.list_builders(with_community_datasets=False):
        builder = _registered(name, data_dir)
    else:
        raise ValueError(_unknown_name(name, data_dir, folders))
    _check_features(name, builder)
    return builder


def load_tfds(
    name: str, split: str, data_dir: pathlib.Path | None, download: bool
) -> Dataset:
    """Read a split whole into memory, downloading it first if need be.

    Args:
        name: As for `make_builder`.
        split: A split's name, or a slice of it in TFDS notation: `"train[:10%]"`.
        data_dir: As for `make_builder`; downloads go there too.
        download: Whether a missing data set may be downloaded.

    Returns:
        The examples in the order in which they are stored.

    Raises:
        ValueError: If there is no such data set or split, or it is not prepared and
            `download` is false.
    """
    builder = make_builder(name, data_dir)
    if not builder.info.splits:
        if not download:
            raise ValueError(
                f"`download` must be True to get {name!r}, which is not in "
                f"{str(builder.data_dir)!r}. Received: download=False"
            )
        builder.download_and_prepare()
    check_split(name, builder, split)
    images, labels = _read(builder, split)
    return Dataset(name, images, labels, class_names(builder))


def check_split(
    name: str, builder: tensorflow_datasets.core.DatasetBuilder, split: str
) -> None:
    """Refuse a split that a prepared data set does not have.

    Args:
        name: The data set's name.
        builder: The data set.
        split: A split's name or a slice of it.

    Raises:
        ValueError: If there is no such split, or it is empty.
    """
    splits = builder.info.splits
    try:
        examples = splits[split].num_examples
    except (KeyError, ValueError, AssertionError) as error:
        raise ValueError(
            f"`split` must be one of {', '.join(splits)} or a slice of one for "
            f"{name!r}. Received: split={split!r}"
        ) from error
    if not examples:
        raise ValueError(
            f"`split` must hold at least one example of {name!r}. "
            f"Received: split={split!r}"
        )


def class_names(
    builder: tensorflow_datasets.core.DatasetBuilder,
) -> tuple[str, ...]:
    """Class names in label order; the numbers themselves where there are no names.

    Args:
        builder: The data set.

    Returns:
        One name a class.
    """
    label = builder.info.features["label"]
    return tuple(label.int2str(index) for index in range(label.num_classes))


def _read(
    builder: tensorflow_datasets.core.DatasetBuilder, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Decode a split on all cores, straight into one array."""
    tfds = _import_tfds()
    only = tfds.decode.PartialDecoding({"image": True, "label": True})
    # Caching would keep a second copy, and costs a third of the time.
    config = tfds.ReadConfig(try_autocache=False)
    with _without_dtype_warning():
        examples = builder.as_dataset(
            split=split, decoders=only, read_config=config, shuffle_files=False
        )
    count = builder.info.splits[split].num_examples
    images = np.empty((count, *builder.info.features["image"].shape), np.uint8)
    labels = np.empty(count, np.int32)
    first = 0
    for batch in examples.batch(1000).prefetch(2).as_numpy_iterator():
        rows = slice(first, first + len(batch["label"]))
        images[rows], labels[rows] = batch["image"], batch["label"]
        first = rows.stop
    return images, labels


def _import_tfds() -> Any:
    """TensorFlow Datasets, which an installation for the layers alone does not have."""
    try:
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Data sets of TFDS need the package {error.name}: install "
            "tfrobust[data], or tfrobust[train] for everything that training needs.",
            name=error.name,
        ) from error
    return tfds


@contextlib.contextmanager
def _without_dtype_warning() -> Iterator[None]:
    """Holds back one warning of TFDS about itself.

    Its `PartialDecoding` compares types by an attribute that it calls deprecated, and
    tells absl's logger, whose messages all others may pass.
    """

    def others(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_DTYPE_WARNING)

    logger = logging.getLogger("absl")
    logger.addFilter(others)
    try:
        yield
    finally:
        logger.removeFilter(others)


def _by_name_and_version(folder: pathlib.Path) -> tuple[str, list[int]]:
    """Sort key: name, then the version as numbers, so that 3.10 follows 3.9."""
    numbers = [int(part) for part in folder.name.split(".") if part.isdigit()]
    return folder.parent.name, numbers


def _registered(
    name: str, data_dir: pathlib.Path | None
) -> tensorflow_datasets.core.DatasetBuilder:
    """The builder of a name that TFDS knows, perhaps with configuration and version."""
    tfds = _import_tfds()
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (AssertionError, ValueError) as error:
        raise ValueError(
            "`name` must be a data set in a configuration and version that TFDS has. "
            f"Received: name={name!r}"
        ) from error


def _base_name(name: str) -> str:
    """The name without TFDS's `/config` and `:version`."""
    return name.split(":")[0].split("/")[0]


def _unknown_name(
    name: str, data_dir: pathlib.Path | None, folders: dict[str, pathlib.Path]
) -> str:
    """The message for a name that is nowhere to be found."""
    expected = (
        "`name` must be shapes, folder:PATH, npz:FILE, "
        f"{', '.join(COMMON_NAMES)} or another TFDS name"
    )
    if data_dir is None:
        return f"{expected}. Received: name={name!r}"
    there = f"holds {', '.join(folders)}" if folders else "holds no prepared data set"
    return (
        f"{expected} or lie in {str(data_dir)!r}, which {there}. "
        f"Received: name={name!r}"
    )


def _check_features(
    name: str, builder: tensorflow_datasets.core.DatasetBuilder
) -> None:
    """Refuse a data set that is not equally large uint8 images with class labels."""
    features = builder.info.features
    parts = dict(features.items()) if hasattr(features, "items") else {}
    image, label = parts.get("image"), parts.get("label")
    fits = (
        image is not None
        and len(image.shape or ()) == 3
        and None not in image.shape
        and image.np_dtype == np.uint8
        and getattr(label, "num_classes", None)
    )
    if not fits:
        raise ValueError(
            "`name` must be a data set with an `image` of fixed size, 8 bits deep, and "
            f"a class `label`. Received: name={name!r} with {_summary(features)}"
        )


def _summary(features: object) -> str:
    """A data set's features on one line."""
    return " ".join(repr(features).split())
