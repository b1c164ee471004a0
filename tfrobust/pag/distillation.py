"""A teacher's gradients for a whole training set, computed once and kept on disk.

A folder holds the gradients, `directions.npy`, and in `directions.json` of what they
are and how many rows of them are there. Rows reach the disk before they are counted and
the count is replaced in one piece, so that a process may be killed at any moment and
the next goes on where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.lib import format as npy

from tfrobust.core.files import replacing
from tfrobust.core.vectors import by_largest_entry
from tfrobust.data import Dataset
from tfrobust.pag.base import Directions
from tfrobust.pag.teacher import Teacher
from tfrobust.settings import require_steps

try:
    import fcntl
except ImportError:  # Windows, where two processes should not fill one folder.
    fcntl = None  # type: ignore[assignment]

Progress = Callable[[int, int], Any]
"""Told the number of finished rows and that of all."""

_ROWS, _STATE, _LOCK = "directions.npy", "directions.json", "directions.lock"

# What tells caches apart, by the name that a sentence gives it.
_IDENTITY = {"teacher": "teacher", "data": "data set", "shape": "shape"}


def cache_size(dataset: Dataset, classes: int) -> int:
    """Bytes that `cache_directions` puts on disk, but for a short header.

    As many are taken of the main memory by `train_pipeline(directions=...)`.

    Args:
        dataset: The N training images `[H,W,C]`.
        classes: K.

    Returns:
        `2 N K H W C`.

    Example:
        >>> from tfrobust.data import make_shapes
        >>> cache_size(make_shapes(50, seed=0), classes=10)
        3072000
    """
    return 2 * math.prod(_shape(dataset, classes))


def cached_rows(
    network: keras.Model, dataset: Dataset, folder: str | os.PathLike[str]
) -> int:
    """How many images of a data set a folder holds the gradients of.

    Args:
        network: The teacher, as for `cache_directions`.
        dataset: The N training images.
        folder: The cache, or a folder that is not there yet.

    Returns:
        From 0 to N.

    Raises:
        ValueError: If the folder holds a cache of something else, or a damaged one.

    Example:
        >>> import tempfile
        >>> from tfrobust import models
        >>> from tfrobust.data import make_shapes
        >>> images = make_shapes(10, seed=0)
        >>> teacher = models.MLP(images.image_shape, images.classes, hidden=(2,))
        >>> with tempfile.TemporaryDirectory() as empty:
        ...     cached_rows(teacher, images, empty)
        0
    """
    teacher = _checked_teacher(network, dataset)
    return _finished(pathlib.Path(folder).expanduser(), _identity(teacher, dataset))


def is_cache_complete(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a cache of which no row is missing.

    Of whatever teacher and data, which are not needed to see it. `cache_directions`
    only reads such a folder.

    Args:
        folder: The cache, or a folder that is not there yet.

    Returns:
        False as well where the cache cannot be read or is damaged.

    Example:
        >>> import tempfile
        >>> from tfrobust import models
        >>> from tfrobust.data import make_shapes
        >>> images = make_shapes(10, seed=0)
        >>> teacher = models.MLP(images.image_shape, images.classes, hidden=(2,))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     before = is_cache_complete(folder)
        ...     rows = cache_directions(teacher, images, folder)
        ...     before, is_cache_complete(folder)
        (False, True)
    """
    place = pathlib.Path(folder).expanduser()
    try:
        state = json.loads((place / _STATE).read_text())
        identity = {name: state[name] for name in _IDENTITY}
        return 0 < _finished(place, identity) == identity["shape"][0]
    except (LookupError, OSError, TypeError, ValueError):
        return False


def cache_directions(
    network: keras.Model,
    dataset: Dataset,
    folder: str | os.PathLike[str],
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> np.ndarray:
    """`grad_x f*(x)_t` for every class t of every image x, from disk once it is there.

    The images are those of the data set as they are, without augmentation. Since only
    directions count, each gradient is divided by its largest absolute entry: gradients
    of saturated networks would underflow in float16.

    What is missing in `folder` is computed first. A rerun goes on at the first
    unfinished row and, with the same `batch_size`, ends with the same bits. A process
    that finds another one at work on the same folder waits for it.

    Args:
        network: The teacher, a built Keras classifier from images to logits `[B,K]`. It
            is called in inference mode.
        dataset: The N training images `[H,W,C]`.
        folder: Where the cache is or will be; made where it is missing.
        batch_size: Images a step, at least 1. All K gradients of all of them are in
            memory at once.
        progress: Called as `progress(done, total)` before the first step and after each
            one; not at all where nothing is missing.

    Returns:
        float16 `[N,K,H,W,C]`, read from disk where it is looked at and not writable,
        each `[H,W,C]` of largest absolute entry 1, or all 0 where the gradient is.

    Raises:
        ValueError: If `folder` holds a cache of another teacher, data set or shape, or
            a damaged one; if `network` does not take these images or its gradients are
            not finite; or if the disk has too little space.

    Reference: Ganz et al. 2023 (PAG), section 4.1.

    Example:
        >>> import tempfile
        >>> from tfrobust import models
        >>> from tfrobust.data import make_shapes
        >>> images = make_shapes(10, seed=0)
        >>> teacher = models.MLP(images.image_shape, classes=10, hidden=(2,))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache_directions(teacher, images, folder).shape
        (10, 10, 32, 32, 3)
    """
    require_steps("batch_size", batch_size)
    teacher = _checked_teacher(network, dataset)
    identity = _identity(teacher, dataset)
    place = pathlib.Path(folder).expanduser()
    if _finished(place, identity) < len(dataset):
        place.mkdir(parents=True, exist_ok=True)
        with _alone(place):
            _fill(place, identity, teacher, dataset, batch_size, progress)
    return np.load(place / _ROWS, mmap_mode="r")


class CachedDirections(Directions):
    """The teacher's gradients of the batch's own images, from `cache_directions`.

    They come with each batch, as its `directions`, which `train_pipeline` makes of the
    same array and moves with the images under augmentation. In contrast to `Teacher`
    they are those of the image before augmentation and before any adversary.

    Args:
        rows: float16 `[N,K,H,W,C]`, from `cache_directions`.

    Raises:
        ValueError: If `rows` is of another rank.

    Reference: Ganz et al. 2023 (PAG), section 4.1.

    Example:
        >>> directions = CachedDirections(np.zeros([5, 3, 4, 4, 1], np.float16))
        >>> batch = {"directions": tf.ones([2, 3, 4, 4, 1])}
        >>> directions(tf.zeros([2, 4, 4, 1]), tf.constant([[0], [2]]), batch).shape
        TensorShape([2, 1, 4, 4, 1])
    """

    def __init__(self, rows: np.ndarray) -> None:
        if np.ndim(rows) != 5:
            raise ValueError(
                "`rows` must be the directions [N,K,H,W,C] of N images. "
                f"Received: rows.shape={np.shape(rows)}"
            )
        self.rows = rows
        self.classes, self.image_shape = rows.shape[1], rows.shape[2:]

    def __call__(
        self,
        images: tf.Tensor,
        chosen: tf.Tensor,
        extras: Mapping[str, tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Directions `[B,k,H,W,C]`; see `Directions`.

        Raises:
            ValueError: If `extras` has no `directions`.
        """
        extras = extras or {}
        if "directions" not in extras:
            raise ValueError(
                "A batch must hold the `directions` of its images, as "
                "train_pipeline(directions=...) makes it. Received: "
                f"{', '.join(sorted(extras)) or 'images'} alone"
            )
        return tf.gather(extras["directions"], chosen, batch_dims=1)


def _shape(dataset: Dataset, classes: int) -> tuple[int, ...]:
    return (len(dataset), classes, *dataset.image_shape)


def _checked_teacher(network: keras.Model, dataset: Dataset) -> Teacher:
    teacher = Teacher(network)
    pairs = zip(teacher.image_shape, dataset.image_shape, strict=False)
    fits = all(own in (None, size) for own, size in pairs)
    if len(teacher.image_shape) != 3 or not fits:
        raise ValueError(
            "`network` must take the images of `dataset`. Received: a network of "
            f"images {teacher.image_shape}, {dataset.name!r} of {dataset.image_shape}"
        )
    return teacher


def _identity(teacher: Teacher, dataset: Dataset) -> dict[str, Any]:
    """What a cache is of, by hashes: equal for equal caches and for no others."""
    network, pixels = hashlib.sha256(), hashlib.sha256()
    # Not `to_json`, which tells a compiled network from one that is not.
    config = keras.saving.serialize_keras_object(teacher.network.get_config())
    network.update(json.dumps(config, sort_keys=True).encode())
    for weight in teacher.network.get_weights():
        network.update(weight.tobytes())
    pixels.update(dataset.name.encode() + b"\0")
    pixels.update(dataset.images.tobytes())
    return {
        "teacher": network.hexdigest(),
        "data": pixels.hexdigest(),
        "shape": list(_shape(dataset, teacher.classes)),
    }


def _finished(place: pathlib.Path, identity: dict[str, Any]) -> int:
    """The rows that are there, 0 where nothing is; `ValueError` where others are."""
    if not (place / _STATE).exists():
        if (place / _ROWS).exists():
            raise ValueError(
                f"`folder` must have no {_ROWS} that is not a cache's. Received: "
                f"{place}, which has one and no {_STATE}"
            )
        return 0
    try:
        state = json.loads((place / _STATE).read_text())
        count = int(state["rows"])
        found = {name: state[name] for name in identity}
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(place, _STATE) from error
    _check_identity(place, found, identity)
    if not 0 <= count <= identity["shape"][0]:
        raise _damaged(place, _STATE)
    if not (place / _ROWS).exists():
        return 0
    try:
        rows = np.load(place / _ROWS, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise _damaged(place, _ROWS) from error
    if list(rows.shape) != identity["shape"] or rows.dtype != np.float16:
        raise _damaged(place, _ROWS)
    return count


def _check_identity(
    place: pathlib.Path, found: dict[str, Any], identity: dict[str, Any]
) -> None:
    differ = [_IDENTITY[part] for part in identity if found[part] != identity[part]]
    if differ:
        raise ValueError(
            "`folder` must hold the gradients of this teacher for these images, or "
            f"none. Received: {place}, a cache of another "
            f"{' and another '.join(differ)}"
        )


def _damaged(place: pathlib.Path, name: str) -> ValueError:
    return ValueError(
        "`folder` must hold a whole cache, or none. Received: "
        f"{place}, whose {name} is damaged: remove the folder"
    )


@contextlib.contextmanager
def _alone(place: pathlib.Path) -> Iterator[None]:
    """Waits until no other process fills the folder; ends with this one, if killed."""
    with (place / _LOCK).open("a") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill(
    place: pathlib.Path,
    identity: dict[str, Any],
    teacher: Teacher,
    dataset: Dataset,
    batch_size: int,
    progress: Progress | None,
) -> None:
    """Computes the rows that are missing, by now, and writes them."""
    done, total = _finished(place, identity), len(dataset)
    if not (place / _ROWS).exists():
        _write_state(place, identity, 0)
        _reserve(place, identity["shape"])
    if progress is not None and done < total:
        progress(done, total)
    rows = npy.open_memmap(place / _ROWS, mode="r+")
    gradients = _compiled(teacher, dataset, batch_size)
    for first in range(done, total, batch_size):
        images = dataset.images[first : first + batch_size]
        last = first + len(images)
        missing = [(0, batch_size - len(images)), (0, 0), (0, 0), (0, 0)]
        found = gradients(np.pad(images, missing)).numpy()[: len(images)]
        if not np.all(np.isfinite(found)):
            raise ValueError(
                "`network` must have finite gradients. Received: one that has none for "
                f"an image from {first} to {last - 1}"
            )
        rows[first:last] = found
        rows.flush()
        _write_state(place, identity, last)
        if progress is not None:
            progress(last, total)


def _compiled(
    teacher: Teacher, dataset: Dataset, batch_size: int
) -> Callable[[np.ndarray], tf.Tensor]:
    """From bytes `[B,H,W,C]` to float16 `[B,K,H,W,C]`; one shape, traced once."""
    shape, classes = (batch_size, *dataset.image_shape), teacher.classes

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)], autograph=False)
    def gradients(images: tf.Tensor) -> tf.Tensor:
        chosen = tf.broadcast_to(tf.range(classes), [batch_size, classes])
        found = teacher(tf.cast(images, tf.float32) / 255.0, chosen)
        return tf.cast(by_largest_entry(found, skip=2), tf.float16)

    return gradients


def _reserve(place: pathlib.Path, shape: list[int]) -> None:
    """Makes the file of all rows, of zeros, in one piece.

    Writing to a mapped file whose disk has become full kills the process; so the space
    is taken now, where the lack of it is an error.
    """
    with replacing(place / _ROWS) as partial:
        _check_space(place, 2 * math.prod(shape))
        npy.open_memmap(partial, mode="w+", dtype=np.float16, shape=tuple(shape))
        with partial.open("r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)


def _check_space(place: pathlib.Path, needed: int) -> None:
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ValueError(
            f"`folder` must be on a disk with {needed / 1e9:.2f} GB free. Received: "
            f"{place}, on one with {free / 1e9:.2f} GB"
        )


def _write_state(place: pathlib.Path, identity: dict[str, Any], rows: int) -> None:
    state = json.dumps({**identity, "rows": rows}, indent=2)
    with replacing(place / _STATE, sync=True) as partial:
        partial.write_text(state + "\n")
