"""A labelled set of images, whole in memory."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A labelled set of equally large images, whole in memory.

    Bytes are kept as they were stored; the pipelines turn them into float32 in
    [0, 1] one batch at a time, so CIFAR-10 takes 150 MB and not 600.

    Args:
        name: What the data set is called, e.g. in reports.
        images: uint8 `(N, height, width, channels)`, N at least 1.
        labels: Integers `(N,)` in [0, K); kept as int32.
        class_names: The K names, in label order.

    Raises:
        ValueError: If the arrays have another rank, type or length, or a label lies
            outside [0, K).

    Example:
        >>> import numpy as np
        >>> pixels = np.zeros((4, 8, 8, 3), np.uint8)
        >>> data = Dataset("tiny", pixels, np.array([0, 1, 0, 1]), ("cat", "dog"))
        >>> len(data), data.classes, data.image_shape
        (4, 2, (8, 8, 3))
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check every field and bring labels and names to one type."""
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        _check_images(images)
        _check_labels(labels, len(images), len(self.class_names))
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels.astype(np.int32, copy=False))
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __len__(self) -> int:
        """Number of examples, N."""
        return len(self.images)

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of one image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def digest(self) -> str:
        """SHA-256 of images, labels and class names, in order; hexadecimal.

        What is equal trains and is measured alike; the name does not count.

        Example:
            >>> from tfrobust.data import make_shapes
            >>> first, second = make_shapes(9, seed=0), make_shapes(9, seed=1)
            >>> first.digest() == make_shapes(9, seed=0).digest()
            True
            >>> first.digest() == second.digest()
            False
        """
        digest = hashlib.sha256(repr((self.images.shape, self.class_names)).encode())
        digest.update(np.ascontiguousarray(self.labels, "<i4").data)
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()

    def take(self, count: int) -> Dataset:
        """The first `count` examples, sharing memory with this data set.

        Args:
            count: From 1 to N.

        Returns:
            A `Dataset` of `count` examples in the same order.

        Raises:
            ValueError: If `count` is not from 1 to N.

        Example:
            >>> from tfrobust.data import make_shapes
            >>> len(make_shapes(20, seed=0).take(5))
            5
        """
        self._check_count(count)
        return self._select(slice(count))

    def subset(self, count: int, seed: int) -> Dataset:
        """A random subset in which the classes are as equal in number as can be.

        Class counts differ by at most one, unless a class has too few examples:
        then all of it is taken and the others make up the rest. The order is random
        within each round over the classes, and a smaller subset of the same seed is
        the beginning of a larger one.

        Args:
            count: From 1 to N.
            seed: Not negative; the same seed gives the same subset.

        Returns:
            A `Dataset` of `count` different examples, copied.

        Raises:
            ValueError: If `count` is not from 1 to N or `seed` is negative.

        Example:
            >>> import numpy as np
            >>> from tfrobust.data import make_shapes
            >>> part = make_shapes(200, seed=0).subset(20, seed=1)
            >>> np.bincount(part.labels).tolist()
            [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
        """
        self._check_count(count)
        if seed < 0:
            raise ValueError(f"`seed` must not be negative. Received: seed={seed}")
        order = np.random.default_rng(seed).permutation(len(self))
        rank = _rank_within_class(self.labels[order])
        return self._select(order[np.argsort(rank, kind="stable")[:count]])

    def _select(self, index: slice | np.ndarray) -> Dataset:
        """The examples at `index`."""
        return dataclasses.replace(
            self, images=self.images[index], labels=self.labels[index]
        )

    def _check_count(self, count: int) -> None:
        """Refuse a `count` outside 1 ... N."""
        if not 1 <= count <= len(self):
            raise ValueError(
                f"`count` must be from 1 to {len(self)}, the size of {self.name!r}. "
                f"Received: count={count}"
            )


def _rank_within_class(labels: np.ndarray) -> np.ndarray:
    """How many earlier examples have the same label; int64 `(N,)`."""
    by_class = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[by_class], labels[by_class])
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - first
    return rank


def _check_images(images: np.ndarray) -> None:
    """Refuse all but a non-empty uint8 array of rank 4."""
    if images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape:
        raise ValueError(
            "`images` must be a non-empty uint8 array (N, height, width, channels). "
            f"Received: shape {images.shape} and type {images.dtype}"
        )


def _check_labels(labels: np.ndarray, count: int, classes: int) -> None:
    """Refuse labels of a wrong shape or type, or outside [0, classes)."""
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"`labels` must be {count} integers, one for each image. "
            f"Received: shape {labels.shape} and type {labels.dtype}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"`labels` must lie from 0 to {classes - 1}, one for each of the "
            f"{classes} class names. Received: {labels.min()} to {labels.max()}"
        )
