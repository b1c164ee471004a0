"""Some of the images that a result is of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


def checked_mask(mask: Any, count: int) -> np.ndarray:
    """`mask` as bool `[N]`, one for each image; raises `ValueError` if it is not.

    Indices are refused: a list of 0 and 1 could be either.

    Args:
        mask: What was given for it.
        count: Of the images, N.

    Example:
        >>> checked_mask([True, False], 2).tolist()
        [True, False]
    """
    rows = np.asarray(mask)
    if rows.size == 0:  # an empty list has no type of its own
        rows = rows.astype(bool)
    if rows.dtype != np.bool_ or rows.shape != (count,):
        raise ValueError(
            f"`mask` must be bool [{count}], one for each image. "
            f"Received: {rows.dtype} {list(rows.shape)}"
        )
    return rows


def selected(values: Iterable[Any], mask: Any) -> list[Any]:
    """Of each array or tensor the rows where a mask holds.

    Args:
        values: Arrays or tensors `[N, ...]`, at least one.
        mask: bool `[N]`.

    Raises:
        ValueError: If the mask is no bool `[N]`.

    Example:
        >>> selected([np.array([1, 2]), np.array([[3], [4]])], [False, True])
        [array([2]), array([[4]])]
    """
    values = list(values)
    rows = checked_mask(mask, len(values[0]))
    return [value[rows] for value in values]
