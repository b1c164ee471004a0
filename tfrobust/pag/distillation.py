"""A teacher's gradients for a whole training set, computed once and kept on disk.

What is on the disk, and what becomes of it where a process is killed, is said in
`tfrobust.pag.cache_folder`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrobust.core.pixels import UNIT
from tfrobust.core.vectors import by_largest_entry
from tfrobust.data import Dataset
from tfrobust.pag.base import BatchDirections
from tfrobust.pag.cache_folder import CacheFolder, is_complete
from tfrobust.pag.teacher import Teacher
from tfrobust.settings import require_steps

Progress = Callable[[int, int], Any]
"""Told the number of finished rows and that of all."""


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
    return CacheFolder(folder, _identity(teacher, dataset)).finished()


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
    return is_complete(folder)


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
        network: The teacher, as for `Teacher`. It is called in inference mode.
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
    cache = CacheFolder(folder, _identity(teacher, dataset))
    if cache.finished() < cache.total:
        with cache.alone():
            _fill(cache, teacher, dataset, batch_size, progress)
    return cache.rows()


class CachedDirections(BatchDirections):
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
    if teacher.bounds != UNIT:
        network.update(str(teacher.bounds).encode())
    return {
        "teacher": network.hexdigest(),
        "data": pixels.hexdigest(),
        "shape": list(_shape(dataset, teacher.classes)),
    }


def _fill(
    cache: CacheFolder,
    teacher: Teacher,
    dataset: Dataset,
    batch_size: int,
    progress: Progress | None,
) -> None:
    """Computes the rows that are missing, by now, and writes them."""
    done, total = cache.finished(), cache.total
    cache.reserve()
    if progress is not None and done < total:
        progress(done, total)
    rows = cache.writable_rows()
    gradients = _compiled(teacher, dataset, batch_size)
    for first in range(done, total, batch_size):
        images = dataset.images[first : first + batch_size]
        last = first + len(images)
        missing = [(0, batch_size - len(images)), (0, 0), (0, 0), (0, 0)]
        computed = gradients(np.pad(images, missing)).numpy()[: len(images)]
        if not np.all(np.isfinite(computed)):
            raise ValueError(
                "`network` must have finite gradients. Received: one that has none for "
                f"an image from {first} to {last - 1}"
            )
        rows[first:last] = computed
        rows.flush()
        cache.count(last)
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
        directions = teacher(tf.cast(images, tf.float32) / 255.0, chosen)
        return tf.cast(by_largest_entry(directions, skip=2), tf.float16)

    return gradients
