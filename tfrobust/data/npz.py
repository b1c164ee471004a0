"""Arrays in an `.npz` file as a data set: those of `keras.datasets`, or one pair."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from tfrobust.data.base import Dataset
from tfrobust.data.source import Source, refusal
from tfrobust.data.split import split

_SPLIT = ("x_train", "y_train", "x_test", "y_test")
_PAIR = ("images", "labels")
_NAMES = "class_names"
_WANTED = (*_SPLIT, *_PAIR, _NAMES)
# Images that are turned into bytes at a time.
_AT_A_TIME = 1024


def read_npz(name: str, source: Source) -> dict[str, Dataset]:
    """Reads a file of arrays whole into memory.

    Args:
        name: What the data set is called.
        source: A file with the arrays `x_train`, `y_train`, `x_test` and `y_test`, as
            in `keras.datasets`, or with `images` and `labels`, which are split by class
            and seed. `class_names` may go along; without, classes are called by number.
            Images are uint8 or floats in [0, 1], which are rounded to 8 bits, of shape
            `(N, height, width, channels)` or, if grey, `(N, height, width)`. Labels are
            integers `(N,)` or `(N, 1)`, or one-hot `(N, K)`.

    Returns:
        The splits "train" and "test". Those of the file keep its order.

    Raises:
        ValueError: If there is no such file, an array is missing or of another form, or
            a class has no training image.
    """
    arrays = _read(source)
    names = _class_names(source, arrays)
    if all(key in arrays for key in _SPLIT):
        parts = _given(source, arrays)
    elif all(key in arrays for key in _PAIR):
        parts = _split_here(source, arrays, names)
    else:
        held = ", ".join(arrays) or "nothing"
        raise refusal(
            f"lead to a file with {', '.join(_SPLIT)}, or with {' and '.join(_PAIR)}",
            f"{source.path}, which holds {held}",
        )
    classes = _count_classes(source, parts, names)
    names = names or tuple(map(str, range(classes)))
    return {
        split: Dataset(name, images, labels, names)
        for split, (images, labels, _) in parts.items()
    }


_Part = tuple[np.ndarray, np.ndarray, int]
"""Images, labels and, of one-hot labels, the number of classes; else 0."""


def _read(source: Source) -> dict[str, np.ndarray]:
    path = source.path
    if not path.is_file():
        problem = "is no file" if path.exists() else "does not exist"
        raise refusal("lead to an existing file", f"{path}, which {problem}")
    must = "lead to an .npz file of numbers"
    # What is no archive would load as one array, or not at all.
    if not zipfile.is_zipfile(path):
        raise refusal(must, f"{path}, which is none")
    try:
        # Without pickles: an array of objects is refused.
        with np.load(path, allow_pickle=False) as archive:
            wanted = [key for key in archive.files if key in _WANTED]
            return {key: archive[key] for key in wanted}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise refusal(must, f"{path}, which is broken: {error}") from error
    except ValueError as error:
        problem = str(error).partition("\n")[0]
        raise refusal(must, f"{path}: {problem}") from error


def _given(source: Source, arrays: Mapping[str, np.ndarray]) -> dict[str, _Part]:
    """The splits that a file has."""
    if source.test is not None or source.seed is not None:
        raise refusal(
            "leave `test` and `seed` out where the file has splits of its own",
            f"{source.path}, which has x_test and y_test",
        )
    parts = {
        part: _part(source, arrays, f"x_{part}", f"y_{part}")
        for part in ("train", "test")
    }
    shapes = [images.shape[1:] for images, _, _ in parts.values()]
    if shapes[0] != shapes[1]:
        raise refusal(
            "have training and test images of one shape",
            f"{source.path}, with {shapes[0]} in x_train and {shapes[1]} in x_test",
        )
    return parts


def _split_here(
    source: Source, arrays: Mapping[str, np.ndarray], names: tuple[str, ...]
) -> dict[str, _Part]:
    """The splits of a file that has none."""
    images, labels, classes = _part(source, arrays, *_PAIR)
    counts = np.bincount(labels, minlength=len(names) or classes)
    if counts.min() < 2:
        raise refusal(
            "have at least two images of each class, one to train on and one to test",
            f"{source.path}, with {counts.min()} of class {counts.argmin()} in labels",
        )
    keys = list(map(str, range(len(images))))
    orders = split(keys, labels, source.test_share, source.split_seed)
    return {
        part: (images[order], labels[order], classes)
        for part, order in zip(("train", "test"), orders, strict=True)
    }


def _part(source: Source, arrays: Mapping[str, np.ndarray], x: str, y: str) -> _Part:
    """Images and labels of one form, whatever they had in the file."""
    images, place = arrays[x], f"{source.path}, whose {x}"
    labels, classes = _labels(arrays[y], f"{source.path}, whose {y}")
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise refusal(
            f"have images (N, height, width) or (N, height, width, channels) in {x}",
            f"{place} is {images.shape}",
        )
    if len(images) != len(labels):
        raise refusal(
            f"have as many labels in {y} as images in {x}",
            f"{source.path}, with {len(labels)} and {len(images)}",
        )
    pixels = _bytes(images, x, place)
    # What was saved in Fortran's order is read in it.
    pixels = np.ascontiguousarray(pixels)
    return (pixels if pixels.ndim == 4 else pixels[..., None]), labels, classes


def _bytes(images: np.ndarray, x: str, place: str) -> np.ndarray:
    """Images as uint8."""
    is_float = np.issubdtype(images.dtype, np.floating)
    lowest, highest = images.min(), images.max()
    if images.dtype == np.uint8:
        if highest <= 1:
            raise refusal(
                f"have pixels from 0 to 255 in {x} where these are uint8",
                f"{place} has none above {highest}",
            )
        return images
    # Of what is no number, both are not.
    if not (is_float and lowest >= 0 and highest <= 1):
        raise refusal(
            f"have uint8 pixels, or floats in [0, 1], in {x}",
            f"{place} is {images.dtype} from {lowest:g} to {highest:g}",
        )
    pixels = np.empty(images.shape, np.uint8)
    for first in range(0, len(images), _AT_A_TIME):
        rows = slice(first, first + _AT_A_TIME)
        pixels[rows] = np.rint(255 * images[rows].astype(np.float64))
    return pixels


def _labels(labels: np.ndarray, place: str) -> tuple[np.ndarray, int]:
    """Labels as int64 `(N,)`, and K where they were one-hot."""
    if labels.ndim == 2 and labels.shape[1] > 1 and len(labels):
        is_one_hot = ((labels == 0) | (labels == 1)).all() and (
            labels.sum(axis=1) == 1
        ).all()
        if is_one_hot:
            return labels.argmax(axis=1), labels.shape[1]
    single = labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1)
    if not single or not np.issubdtype(labels.dtype, np.integer):
        raise refusal(
            "have integer labels (N,) or (N, 1), or one-hot ones (N, K)",
            f"{place} is {labels.dtype} {labels.shape}",
        )
    labels = labels.reshape(-1).astype(np.int64)
    if len(labels) and labels.min() < 0:
        raise refusal("have labels from 0 on", f"{place} begins at {labels.min()}")
    return labels, 0


def _class_names(source: Source, arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The names in a file; none where it has none."""
    names = arrays.get(_NAMES)
    if names is None:
        return ()
    texts = tuple(str(name) for name in names.reshape(-1))
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(texts)) < len(texts):
        raise refusal(
            "have different texts, one for each class, in class_names",
            f"{source.path}, with {names.dtype} {names.shape}: {', '.join(texts)}",
        )
    return texts


def _count_classes(
    source: Source, parts: Mapping[str, _Part], names: tuple[str, ...]
) -> int:
    """K, of which every class must have a training image."""
    labels = {part: each[1] for part, each in parts.items()}
    highest = 1 + max(int(each.max()) for each in labels.values())
    one_hot = {each[2] for each in parts.values()} - {0}
    classes = len(names) or max(one_hot, default=highest)
    if highest > classes or one_hot - {classes}:
        sizes = ", ".join(map(str, sorted({highest} | one_hot)))
        raise refusal(
            f"have labels of {classes} classes throughout",
            f"{source.path}, with labels of {sizes}",
        )
    counts = np.bincount(labels["train"], minlength=classes)
    if classes < 2 or not counts.all():
        missing = f"none of class {counts.argmin()}" if classes > 1 else "one class"
        raise refusal(
            "have a training image of each of at least two classes",
            f"{source.path}, with {missing}",
        )
    return classes
