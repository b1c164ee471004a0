"""Work on many images of a model, a batch at a time, by one graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.core.classifier import as_classifier
from tfrobust.core.examples import gather
from tfrobust.core.graphs import GraphCache
from tfrobust.core.images import Pixels, pixels_in
from tfrobust.core.pixels import Bounds, bounds_of, from_unit
from tfrobust.data import Dataset

_GRAPHS = GraphCache()

# Images on which a model is asked whether it answers with probabilities.
_LOOKED_AT = 8


def gathered(
    images: Any,
    labels: Any = None,
    model: Any = None,
    bounds: Any = None,
    *,
    name: str = "images",
    labeled: bool = False,
) -> tuple[Pixels, Any]:
    """Images in any form for a model, checked, and their labels; see `gather`.

    Args:
        images: As for `gather`; the bytes of a `data.Dataset` are brought within the
            bounds.
        labels: As for `gather`.
        model: What the images are for.
        bounds: The range of the pixels, as for an attack's call.
        name: Of the argument.
        labeled: Whether labels are needed.

    Example:
        >>> pixels, labels = gathered(np.zeros((3, 2, 2, 1)), [0, 1, 1])
        >>> pixels.images.shape, labels
        (TensorShape([3, 2, 2, 1]), [0, 1, 1])
    """
    shown, own = gather(images, labels, name, labeled=labeled)
    if isinstance(images, Dataset):
        shown = from_unit(shown, bounds_of(model, bounds))
    return pixels_in(shown, model, bounds, name=name), own


def at_least_one(pixels: Pixels, name: str = "images") -> Pixels:
    """The same; raises `ValueError` where there is no image.

    Example:
        >>> len(at_least_one(pixels_in(tf.zeros([1, 2, 2, 1]))).images)
        1
    """
    if not len(pixels.images):
        raise ValueError(f"`{name}` must hold at least one image. Received: none")
    return pixels


def classes_of(model: Any, pixels: Pixels) -> int:
    """How many classes a model tells apart.

    Example:
        >>> def model(images):
        ...     return tf.reshape(images, [-1, 4])
        >>> classes_of(model, pixels_in(tf.zeros([1, 2, 2, 1])))
        4
    """
    classifier = as_classifier(model, pixels.bounds)
    return int(classifier(pixels.images[:1]).shape[1])


def compiled(
    model: Any,
    bounds: Bounds,
    images: tf.Tensor,
    key: Hashable,
    function: Callable[..., tf.Tensor],
    *specs: Any,
) -> Any:
    """What a function makes of a classifier, as one graph for each model and key.

    Args:
        model: As for an attack's call.
        bounds: The range of its pixels.
        images: Some in [0, 1], on which it is seen whether it answers with logits.
        key: Of the function and all that it holds.
        function: `function(classifier, *tensors)`.
        *specs: Of the tensors, as for `traced`.

    Raises:
        ValueError: If the model answers with probabilities that are not seen to be
            such.

    Example:
        >>> def model(images):
        ...     return 2.0 * images
        >>> rows = tf.ones([3, 2])
        >>> graph = compiled(
        ...     model, (0.0, 1.0), rows, "ask", lambda f, x: f(x), any_number(rows))
        >>> graph(rows[:1]).numpy().tolist()
        [[2.0, 2.0]]
    """

    def trace(reference: Callable[[], Any]) -> tuple[Any, bool]:
        doubts = []

        def run(*tensors: Any) -> tf.Tensor:
            classifier = as_classifier(reference(), bounds)
            result = function(classifier, *tensors)
            doubts.append(classifier.is_doubtful)
            return result

        return traced(run, *specs), doubts[-1]

    graph, is_doubtful = _GRAPHS.get(model, (key, bounds, str(specs)), trace)
    if is_doubtful and len(images):
        as_classifier(model, bounds)(images[:_LOOKED_AT])  # or an error
    return graph


def traced(function: Callable[..., tf.Tensor], *specs: Any) -> Any:
    """One graph. A `tf.function` would warn of retracing from one call to the next.

    Args:
        function: From tensors to a tensor.
        *specs: The signature, as `any_number` makes it.

    Example:
        >>> double = traced(lambda x: 2.0 * x, any_number(tf.zeros([3])))
        >>> double(tf.constant([1.0, 2.0])).numpy().tolist()
        [2.0, 4.0]
    """
    return tf.function(function, autograph=False).get_concrete_function(*specs)


def any_number(values: tf.Tensor) -> tf.TensorSpec:
    """A signature under which the smaller last batch needs no graph of its own.

    Args:
        values: `[N, ...]`.

    Example:
        >>> any_number(tf.zeros([3, 2])).shape
        TensorShape([None, 2])
    """
    return tf.TensorSpec([None, *values.shape[1:]], values.dtype)


def in_batches(
    work: Callable[[slice], tf.Tensor], count: int, batch_size: int
) -> np.ndarray:
    """What a function makes of all rows, so many at a time.

    Args:
        work: From a slice of the rows to a tensor with a row for each.
        count: Of all rows, at least 1.
        batch_size: Rows at a time, at least 1.

    Example:
        >>> in_batches(lambda rows: tf.range(rows.start, rows.stop), 5, 2).tolist()
        [0, 1, 2, 3, 4]
    """
    starts = range(0, count, batch_size)
    parts = [work(slice(i, min(i + batch_size, count))).numpy() for i in starts]
    return np.concatenate(parts)
