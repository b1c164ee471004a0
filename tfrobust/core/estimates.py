"""A number that was estimated from a sample, and how sure it is."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A number estimated from a sample.

    Attributes:
        value: The estimate.
        standard_error: Its standard error; NaN from a single example.
    """

    value: float
    standard_error: float


def mean(values: Any) -> Estimate:
    """Mean of a sample and its standard error, in float64; NaN where there is none.

    Example:
        >>> mean([1.0, 3.0])
        Estimate(value=2.0, standard_error=1.0)
    """
    values = np.asarray(values, np.float64).ravel()
    if not values.size:
        return Estimate(math.nan, math.nan)
    error = math.nan
    if values.size > 1:
        error = float(np.std(values, ddof=1) / math.sqrt(values.size))
    return Estimate(float(np.mean(values)), error)
