"""Work on many images, a batch at a time, by one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


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
