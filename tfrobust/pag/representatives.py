"""Directions that lead from an image to one that represents a class: `r_t - x`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.pag.base import Directions
from tfrobust.pag.clusters import k_means
from tfrobust.pag.registry import register
from tfrobust.settings import require, require_positive, require_steps

# Difference of every pixel below which a candidate is the image itself: less than what
# tells two levels of 8 bits apart, more than rounding.
_ITSELF = 1e-5


Extras = Mapping[str, tf.Tensor]
"""What else is known of each image, by name."""


class _Towards(Directions):
    """Directions to an image for each class, which a subclass finds."""

    # Bytes are a quarter of the memory.
    takes_bytes = True

    def __call__(
        self, images: tf.Tensor, chosen: tf.Tensor, extras: Extras | None = None
    ) -> tf.Tensor:
        """Directions `[B,k,H,W,C]`; see `Directions`."""
        return self._goals(images, chosen, extras or {}) - images[:, None]

    def _goals(self, images: tf.Tensor, chosen: tf.Tensor, extras: Extras) -> tf.Tensor:
        """Where the directions lead, `[B,k,H,W,C]`."""
        raise NotImplementedError


@register("one_image", "one image of each class")
class OneImage(_Towards):
    """`r_t - x`, r_t one training image of class t, the same for every x.

    Args:
        images: `[N,H,W,C]` in [0, 1], or uint8.
        labels: Integers `[N]` in [0, K).
        classes: K, at least 2.
        seed: Which image of each class it is.

    Raises:
        ValueError: If `classes` is below 2, a label is out of range, or a class has no
            image.

    Reference: Ganz et al. 2023 (PAG), section 4.2, "One Image".

    Example:
        >>> import numpy as np
        >>> images = np.array([[0.0, 0.0], [1.0, 0.0]], np.float32)
        >>> directions = OneImage(images, labels=[0, 1], classes=2)
        >>> directions(tf.constant([[0.0, 1.0]]), tf.constant([[1]])).numpy().tolist()
        [[[1.0, -1.0]]]
    """

    def __init__(
        self, images: Any, labels: Any, classes: int, *, seed: int = 0
    ) -> None:
        pool, _ = sample(images, labels, classes, 1, seed)
        self.classes, self.image_shape = classes, pool.shape[2:]
        self.representatives = tf.constant(pool[:, 0])

    def _goals(self, images: tf.Tensor, chosen: tf.Tensor, extras: Extras) -> tf.Tensor:
        return tf.gather(self.representatives, chosen)


@register("class_mean", "the mean of each class")
class ClassMean(OneImage):
    """`r_t - x`, r_t a constant times the mean of the training images of class t.

    Averaging takes contrast away; the constant gives it back its length.

    Args:
        images: `[N,H,W,C]` in [0, 1], or uint8.
        labels: Integers `[N]` in [0, K).
        classes: K, at least 2.
        scale: The constant, above 0. `None`: for each class what gives its mean the
            root mean square length of its images.

    Raises:
        ValueError: If `classes` is below 2, a label is out of range, a class has no
            image, or `scale` is not positive.

    Reference: Ganz et al. 2023 (PAG), section 4.2, "Class Mean". The paper asks for a
    constant and does not give it.

    Example:
        >>> import numpy as np
        >>> images = np.array([[0.0, 0.25], [0.0, 0.5], [1.0, 0.0]], np.float32)
        >>> directions = ClassMean(images, labels=[0, 0, 1], classes=2, scale=1.0)
        >>> directions.representatives.numpy().tolist()
        [[0.0, 0.375], [1.0, 0.0]]
    """

    def __init__(
        self, images: Any, labels: Any, classes: int, *, scale: float | None = None
    ) -> None:
        self.check_settings(scale)
        images, labels = checked(images, labels, classes)
        means = np.stack(
            [
                _scaled_mean(as_floats(images[labels == t]), scale)
                for t in range(classes)
            ]
        )
        self.classes, self.image_shape = classes, means.shape[1:]
        self.representatives = tf.constant(means)

    @staticmethod
    def check_settings(scale: float | None = None) -> None:
        """Raises `ValueError` unless the constant is positive or `None`."""
        if scale is not None:
            require_positive("scale", scale)


@register("nearest_neighbor", "the nearest of some images of each class")
class NearestNeighbor(_Towards):
    """`r_t - x`, r_t the nearest image to x in a sample of class t, x itself excluded.

    Distances are Euclidean, of all images of a batch to all of the sample in one matrix
    product. A candidate is x itself if it has its `index` among the `extras`, which
    holds under augmentation too; where that is not known, if no pixel differs by more
    than rounding.

    Args:
        images: `[N,H,W,C]` in [0, 1], or uint8.
        labels: Integers `[N]` in [0, K).
        classes: K, at least 2.
        samples: Images of each class to choose from, at least 2; all of a class where
            it has fewer.
        seed: Which they are.

    Raises:
        ValueError: If `classes` is below 2, a label is out of range, or a class has
            fewer than 2 images.

    Reference: Ganz et al. 2023 (PAG), section 4.2, "Nearest Neighbor".

    Example:
        >>> import numpy as np
        >>> images = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
        >>> directions = NearestNeighbor(images, labels=[0, 0, 1, 1], classes=2)
        >>> directions(images[:1], tf.constant([[0, 1]])).numpy().tolist()
        [[[0.0, 1.0], [1.0, 0.0]]]
    """

    # Without it an augmented image might be its own neighbour.
    needs_index = True

    def __init__(
        self,
        images: Any,
        labels: Any,
        classes: int,
        *,
        samples: int = 50,
        seed: int = 0,
    ) -> None:
        self.check_settings(samples)
        pool, index = sample(images, labels, classes, samples, seed)
        lonely = np.flatnonzero(np.sum(index >= 0, axis=1) < 2)
        if len(lonely):
            raise ValueError(
                "`labels` must hold every class at least twice, so that an image has "
                f"a neighbour beside itself. Received: 1 image of class {lonely[0]}"
            )
        self._search = Nearest(pool, index)
        self.classes, self.image_shape = classes, pool.shape[2:]

    @staticmethod
    def check_settings(samples: int = 50, seed: int = 0) -> None:
        """Raises `ValueError` unless there are at least 2 samples."""
        require_steps("samples", samples)
        require(samples >= 2, "samples", samples, "at least 2, to leave x itself out")

    def _goals(self, images: tf.Tensor, chosen: tf.Tensor, extras: Extras) -> tf.Tensor:
        return self._search(images, chosen, extras.get("index"))


@register("cluster", "the nearest of some centers of each class")
class Cluster(_Towards):
    """`r_t - x`, r_t the nearest to x of the centres into which class t falls.

    K-means computes the centres once. Between a class mean, which is the case of one
    cluster, and a nearest neighbour, the case of as many as there are images.

    Args:
        images: `[N,H,W,C]` in [0, 1], or uint8.
        labels: Integers `[N]` in [0, K).
        classes: K, at least 2.
        clusters: Centres of each class, at least 1; as many as it has images where
            those are fewer.
        seed: Of k-means.

    Raises:
        ValueError: If `classes` is below 2, a label is out of range, or a class has no
            image.

    Reference: Ganz et al. 2023 (PAG), section 4.2, suggests clusters and does not try
    them.

    Example:
        >>> import numpy as np
        >>> images = np.array([[0, 0], [0, 0.5], [1, 1], [0.5, 0]], np.float32)
        >>> directions = Cluster(images, labels=[0, 0, 0, 1], classes=2, clusters=2)
        >>> directions(images[:1], tf.constant([[0]])).numpy().tolist()
        [[[0.0, 0.25]]]
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        classes: int,
        *,
        clusters: int = 10,
        seed: int = 0,
    ) -> None:
        self.check_settings(clusters)
        images, labels = checked(images, labels, classes)
        centers = [
            k_means(as_floats(images[labels == t]), clusters, seed)
            for t in range(classes)
        ]
        self._search = Nearest(*_padded(centers))
        self.classes, self.image_shape = classes, images.shape[1:]

    @staticmethod
    def check_settings(clusters: int = 10, seed: int = 0) -> None:
        """Raises `ValueError` unless there is at least 1 cluster."""
        require_steps("clusters", clusters)

    def _goals(self, images: tf.Tensor, chosen: tf.Tensor, extras: Extras) -> tf.Tensor:
        return self._search(images, chosen, itself=False)


class Nearest:
    """The nearest candidate of each class.

    Args:
        pool: float32 `[K,M,H,W,C]`, M candidates of each of K classes.
        index: Integers `[K,M]`, the row of each in the training data; below 0 where
            there is none, as with a class of fewer than M.
    """

    def __init__(self, pool: np.ndarray, index: np.ndarray) -> None:
        self.pool, self.index = tf.constant(pool), tf.constant(index, tf.int32)
        flat = pool.reshape(index.size, -1)
        self._columns = tf.constant(np.ascontiguousarray(flat.T))
        self._lengths = tf.constant(np.sum(flat.astype(np.float64) ** 2, 1), tf.float32)
        self._missing = tf.constant(index.reshape(-1) == MISSING)

    def __call__(
        self,
        images: tf.Tensor,
        chosen: tf.Tensor,
        own: tf.Tensor | None = None,
        itself: bool = True,
    ) -> tf.Tensor:
        """The nearest candidates `[B,k,H,W,C]` of the classes `chosen` `[B,k]`.

        Args:
            images: float32 `[B,H,W,C]`.
            chosen: int32 `[B,k]`.
            own: int32 `[B]`, rows of the images in the training data, if known.
            itself: Whether an image found among the candidates is left out.
        """
        flat = tf.reshape(images, [-1, self._columns.shape[0]])
        lengths = tf.reduce_sum(tf.square(flat), axis=1)[:, None]
        distances = lengths - 2.0 * tf.matmul(flat, self._columns) + self._lengths
        barred = self._missing[None]
        if itself and own is not None:
            rows = tf.reshape(self.index, [1, -1])
            barred |= tf.cast(own, tf.int32)[:, None] == rows
        distances = tf.where(barred, math.inf, distances)
        by_class = tf.reshape(distances, [-1, *self.index.shape])
        by_class = tf.gather(by_class, chosen, batch_dims=1)
        if not itself or own is not None:
            best = tf.argmin(by_class, axis=2, output_type=tf.int32)
            return self._candidates(chosen, best)
        nearest = tf.math.top_k(-by_class, 2).indices
        first, second = (self._candidates(chosen, nearest[..., i]) for i in (0, 1))
        differs = tf.abs(first - images[:, None]) > _ITSELF
        axes = list(range(2, first.shape.rank))
        other = tf.reduce_any(differs, axis=axes, keepdims=True)
        return tf.where(other, first, second)

    def _candidates(self, chosen: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """Candidates `[B,k,H,W,C]` by class and place within it, each `[B,k]`."""
        return tf.gather_nd(self.pool, tf.stack([chosen, places], axis=-1))


MISSING = -2
"""Marks a place of the pool that no candidate takes."""


def checked(images: Any, labels: Any, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels as arrays, or a one-sentence `ValueError`."""
    require(
        isinstance(classes, int) and classes >= 2,
        "classes",
        classes,
        "an integer of at least 2: a single class has no direction of its own",
    )
    images, labels = np.asarray(images), np.asarray(labels)
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            "`labels` must be one integer for each image. Received: labels of shape "
            f"{labels.shape} and type {labels.dtype}, images of shape {images.shape}"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"`labels` must lie in [0, {classes}). Received: labels from "
            f"{labels.min()} to {labels.max()}"
        )
    absent = np.setdiff1d(np.arange(classes), labels)
    if len(absent):
        raise ValueError(
            "`labels` must hold every class at least once. Received: no image of "
            f"class {absent[0]}"
        )
    outside = (
        images.dtype != np.uint8
        and images.size
        and not (images.min() >= 0 and images.max() <= 1)
    )
    if outside:
        raise ValueError(
            "`images` must be uint8 or lie in [0, 1]. Received: images from "
            f"{images.min()} to {images.max()} of type {images.dtype}"
        )
    return images, labels


def as_floats(images: np.ndarray) -> np.ndarray:
    """Images as float32, bytes brought to [0, 1]."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return images.astype(np.float32)


def sample(
    images: Any, labels: Any, classes: int, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Some images of each class `[K,M,H,W,C]`, and their rows `[K,M]`.

    A class of fewer than M images has zeros in its last places, marked `MISSING`.
    """
    images, labels = checked(images, labels, classes)
    order = np.random.default_rng(seed).permutation(len(labels))
    rows = [order[labels[order] == t][:count] for t in range(classes)]
    pool, index = _padded([as_floats(images[taken]) for taken in rows])
    index[index != MISSING] = np.concatenate(rows)
    return pool, index


def _padded(groups: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Groups of images as one array `[K,M,...]`, with the places that are taken."""
    count = max(len(group) for group in groups)
    pool = np.zeros((len(groups), count, *groups[0].shape[1:]), np.float32)
    index = np.full((len(groups), count), MISSING)
    for t, group in enumerate(groups):
        pool[t, : len(group)] = group
        index[t, : len(group)] = -1
    return pool, index


def _scaled_mean(images: np.ndarray, scale: float | None) -> np.ndarray:
    mean = images.mean(axis=0, dtype=np.float64)
    if scale is None:
        length = np.sqrt(np.sum(np.square(images, dtype=np.float64)) / len(images))
        own = np.sqrt(np.sum(mean**2))
        scale = length / own if own > 0 else 1.0
    return (scale * mean).astype(np.float32)
