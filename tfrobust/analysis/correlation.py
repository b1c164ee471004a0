"""Whether two measures put models, or images, in the same order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfrobust.core.estimates import Estimate
from tfrobust.settings import require_seed, require_steps


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


def partial_rank_correlation(
    first: Any,
    second: Any,
    given: Any = None,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> Estimate:
    """Spearman's rank correlation of two measures once a third is accounted for.

    `(r_ab - r_ac r_bc) / sqrt((1 - r_ac^2) (1 - r_bc^2))` of the three rank
    correlations: how far two measures go together among values alike in the third.

    Args:
        first: N numbers a. A value does not count where any of the three is NaN.
        second: N numbers b.
        given: N numbers c; `None`: none, which leaves `rank_correlation`.
        resamples: How often N values are drawn with replacement for the standard error,
            at least 2.
        seed: Of these draws, in [0, 2**31).

    Returns:
        The correlation and its standard error by bootstrap. NaN of fewer than four
        values, or where all of one are equal or `given` decides one of the others.

    Raises:
        ValueError: If they are not of one length, or a setting is out of range.

    Reference: Kendall 1942; Efron 1979 for the error.

    Example:
        >>> import numpy as np
        >>> c = np.arange(40.0)
        >>> noise = np.random.default_rng(0).normal(size=(2, 40))
        >>> a, b = c + 9 * noise[0], c + 9 * noise[1]
        >>> bool(rank_correlation(a, b) > 0.3)
        True
        >>> bool(abs(partial_rank_correlation(a, b, c).value) < 0.3)
        True
    """
    require_steps("resamples", resamples)
    require_seed(seed)
    columns = [first, second] if given is None else [first, second, given]
    values = [np.asarray(column, np.float64) for column in columns]
    if any(column.ndim != 1 or column.shape != values[0].shape for column in values):
        raise ValueError(
            "`first`, `second` and `given` must be of one length. "
            f"Received: shapes {', '.join(str(column.shape) for column in values)}"
        )
    table = np.stack(values, axis=1)
    table = table[~np.isnan(table).any(axis=1)]
    if len(table) < 4:
        return Estimate(math.nan, math.nan)
    random = np.random.default_rng(seed)
    draws = [
        _partial(table[random.integers(len(table), size=len(table))])
        for _ in range(resamples)
    ]
    drawn = np.array(draws)[~np.isnan(draws)]
    error = float(np.std(drawn, ddof=1)) if len(drawn) > 1 else math.nan
    return Estimate(_partial(table), error)


def _partial(table: np.ndarray) -> float:
    """Of two or three columns."""
    first, second, *given = table.T
    direct = rank_correlation(first, second)
    if not given:
        return direct
    own = [rank_correlation(column, given[0]) for column in (first, second)]
    left = [1.0 - part**2 for part in own]
    if not min(left) > 0.0:  # NaN too
        return math.nan
    return (direct - own[0] * own[1]) / math.sqrt(left[0] * left[1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """From 1; equal values share their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[place]
