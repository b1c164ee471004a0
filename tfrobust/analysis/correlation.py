"""Whether two measures put models in the same order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def rank_correlation(first: Any, second: Any) -> float:
    """Spearman's rank correlation: Pearson's, of the ranks.

    1 where both rise together, -1 where one rises as the other falls, whatever the
    scale. Equal values share the mean of their ranks. Of few values it says little: of
    eight in no relation to each other one pair in twenty has 0.74 or more in absolute
    value, of five one in sixty has 1.

    Args:
        first: N numbers. A pair of which one is NaN does not count.
        second: N numbers.

    Returns:
        A number in [-1, 1]; NaN of fewer than three pairs, or where all values of one
        are equal.

    Raises:
        ValueError: If the two are not of one length.

    Example:
        >>> rank_correlation([1, 2, 30], [0.1, 0.4, 0.5])
        1.0
        >>> rank_correlation([1, 2, 3, 4], [2, 1, 4, 3])
        0.6
    """
    pair = [np.asarray(values, np.float64) for values in (first, second)]
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape:
        raise ValueError(
            "`first` and `second` must be of one length. "
            f"Received: shapes {pair[0].shape} and {pair[1].shape}"
        )
    counted = ~np.isnan(pair[0]) & ~np.isnan(pair[1])
    ranks = [_ranks(values[counted]) for values in pair]
    if len(ranks[0]) < 3 or any(np.ptp(rank) == 0 for rank in ranks):
        return math.nan
    # Twice a centred rank is a whole number, so these sums are exact.
    a, b = (2.0 * (rank - rank.mean()) for rank in ranks)
    return float((a @ b) / math.sqrt((a @ a) * (b @ b)))


def _ranks(values: np.ndarray) -> np.ndarray:
    """From 1; equal values share their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[place]
