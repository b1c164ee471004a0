"""Images with labels, in whatever form they are given, as batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrobust.data import Dataset
from tfrobust.settings import require_steps


class Batch(NamedTuple):
    """Some images, and the label of each.

    Attributes:
        images: `[B, ...]`.
        labels: Integer `[B]`.
    """

    images: Any
    labels: Any


class Batches:
    """The batches of images with labels, without padding.

    Args:
        given: A pair of arrays, `(images, labels)`, which is cut into batches; or
            batches of such pairs in any iterable, for instance a `tf.data.Dataset`. A
            third element, `[B]`, is 0 where an example only fills its batch up, as in
            the batches of `data.eval_pipeline(pad=True)`: such examples are left out.
        batch_size: Of a pair of arrays, at least 1.

    Raises:
        ValueError: If there are other than as many labels as images, or `batch_size`
            is no integer of at least 1; later, over a batch that is none.

    Example:
        >>> import numpy as np
        >>> images, labels = np.zeros((5, 2, 2, 1)), np.arange(5)
        >>> [batch.labels.tolist() for batch in Batches((images, labels), 2)]
        [[0, 1], [2, 3], [4]]
        >>> padded = [(images, labels, np.array([1, 1, 1, 0, 0]))]
        >>> [batch.labels.tolist() for batch in Batches(padded)]
        [[0, 1, 2]]
    """

    def __init__(self, given: Any, batch_size: int = 128) -> None:
        require_steps("batch_size", batch_size)
        self._source: Iterable[Any] = given
        if _is_arrays(given):
            self._source = _Slices(given, batch_size)

    def __len__(self) -> int:
        """How many batches there are; `TypeError` where that is not known."""
        return len(self._source)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        for given in self._source:
            batch = _without_padding(given)
            if len(batch.images):
                yield batch


def gather(
    images: Any, labels: Any = None, name: str = "images", *, labeled: bool = False
) -> Batch:
    """Images and labels as whole arrays, in whatever form they are given.

    What functions use that look at all images more than once. Everything is in memory
    at the same time.

    Args:
        images: An array `[N, ...]`; or a pair of arrays, `(images, labels)`; or batches
            of images or of such pairs in any iterable, for instance a
            `tf.data.Dataset`. A third element, `[B]`, marks padding by 0, which is left
            out. Or a `data.Dataset`, whose bytes become float32 in [0, 1].
        labels: `[N]`, where `images` brings none.
        name: Of the argument for the images.
        labeled: Whether labels are needed.

    Returns:
        All images; and all labels, `None` where there are none.

    Raises:
        ValueError: If there are no labels where they are needed, or two of them; or
            `images` holds no batch, or something else.

    Example:
        >>> import numpy as np
        >>> batches = tf.data.Dataset.from_tensor_slices(([0.5, 0.25], [1, 2])).batch(1)
        >>> images, labels = gather(batches)
        >>> images.tolist(), labels.tolist()
        ([0.5, 0.25], [1, 2])
        >>> images, labels = gather(np.zeros((5, 2, 2, 1)))
        >>> images.shape, labels
        ((5, 2, 2, 1), None)
    """
    pixels, own = _gathered(images, name)
    if labels is not None and own is not None:
        raise ValueError(
            f"`labels` must be None where `{name}` brings its own. Received: both"
        )
    labels = own if labels is None else labels
    if labeled and labels is None:
        raise ValueError(
            f"`labels` must be given where `{name}` brings none. Received: labels=None"
        )
    return Batch(pixels, labels)


def _gathered(given: Any, name: str) -> Batch:
    if isinstance(given, Dataset):
        return Batch(given.images.astype(np.float32) / np.float32(255), given.labels)
    if _is_pair(given):
        return _without_padding(given, name)
    if not _is_batches(given):
        return Batch(given, None)
    parts = [_part(part, name) for part in given]
    if not parts:
        raise ValueError(f"`{name}` must hold at least one batch. Received: none")
    labels = [part.labels for part in parts]
    return Batch(
        np.concatenate([np.asarray(part.images) for part in parts]),
        None if labels[0] is None else np.concatenate([np.asarray(y) for y in labels]),
    )


def _is_pair(given: Any) -> bool:
    """Whether these are images and labels, and no list of two images."""
    return _is_arrays(given) and np.ndim(given[0]) != np.ndim(given[1])


def _is_batches(given: Any) -> bool:
    """Whether these are batches: anything but an array, or numbers that make one."""
    if isinstance(given, tuple | list):
        return len(given) > 0 and _is_arrays(given[0])
    is_iterable = hasattr(given, "__iter__") or isinstance(given, tf.data.Dataset)
    return is_iterable and not hasattr(given, "shape")


def _part(given: Any, name: str) -> Batch:
    """A batch of images alone, or of images and labels."""
    if hasattr(given, "shape"):
        return Batch(given, None)
    return _without_padding(given, name)


class _Slices:
    """Arrays cut into batches."""

    def __init__(self, arrays: Any, batch_size: int) -> None:
        self._arrays, self._batch_size = arrays, batch_size
        images, labels = arrays[:2]
        if len(images) != len(labels):
            raise ValueError(
                "`batches` must hold as many labels as images. "
                f"Received: {len(images)} images, {len(labels)} labels"
            )

    def __len__(self) -> int:
        return -(-len(self._arrays[0]) // self._batch_size)

    def __iter__(self) -> Iterator[Any]:
        for first in range(0, len(self._arrays[0]), self._batch_size):
            rows = slice(first, first + self._batch_size)
            yield tuple(array[rows] for array in self._arrays)


def _is_arrays(given: Any) -> bool:
    """Whether these are images and labels, rather than a sequence of such pairs."""
    is_batch = isinstance(given, tuple | list) and len(given) in (2, 3)
    return is_batch and hasattr(given[0], "shape")


def _without_padding(given: Any, name: str = "batches") -> Batch:
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise ValueError(
            f"`{name}` must yield (images, labels). Received: a {type(given).__name__}"
        )
    images, labels, *weights = given
    if not weights:
        return Batch(images, labels)
    real = np.asarray(weights[0]) > 0
    if real.all():
        return Batch(images, labels)
    return Batch(np.asarray(images)[real], np.asarray(labels)[real])
