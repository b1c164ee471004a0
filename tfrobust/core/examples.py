"""Images with labels, in whatever form they are given, as batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

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


def _without_padding(given: Any) -> Batch:
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise ValueError(
            f"`batches` must yield (images, labels). Received: a {type(given).__name__}"
        )
    images, labels, *weights = given
    if not weights:
        return Batch(images, labels)
    real = np.asarray(weights[0]) > 0
    if real.all():
        return Batch(images, labels)
    return Batch(np.asarray(images)[real], np.asarray(labels)[real])
