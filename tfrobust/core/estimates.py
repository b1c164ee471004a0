"""A number that was estimated from a sample, and how sure it is."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A number estimated from a sample.

    It unpacks into both numbers. Beside a number it stands for its value: `float(...)`
    takes that, and it is smaller than, equal to or larger than what its value is.
    A format applies to both numbers, as in `f"{estimate:.3f}"`.

    Attributes:
        value: The estimate.
        standard_error: Its standard error; NaN from a single example.

    Example:
        >>> accuracy = Estimate(0.5123, 0.0112)
        >>> f"{accuracy:.3f}", f"{Estimate(0.5123, float('nan')):.1%}"
        ('0.512 +- 0.011', '51.2%')
        >>> accuracy > 0.5, float(accuracy), round(accuracy.standard_error, 2)
        (True, 0.5123, 0.01)
        >>> value, error = accuracy
    """

    value: float
    standard_error: float

    def __format__(self, form: str) -> str:
        """Both numbers in one format; the value alone where there is no error."""
        if not form:
            return str(self)
        if math.isnan(self.standard_error):
            return format(self.value, form)
        return f"{self.value:{form}} +- {self.standard_error:{form}}"

    def __float__(self) -> float:
        return float(self.value)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, numbers.Real):
            return self.value == other
        return tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        # That of the number that it is equal to.
        return hash(self.value)

    def __lt__(self, other: Any) -> bool:
        return bool(self.value < _value(other))

    def __le__(self, other: Any) -> bool:
        return bool(self.value <= _value(other))

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > _value(other))

    def __ge__(self, other: Any) -> bool:
        return bool(self.value >= _value(other))


class Interval(NamedTuple):
    """The numbers between two, which are among them."""

    low: float
    high: float


def _value(other: Any) -> Any:
    return other.value if isinstance(other, Estimate) else other


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


def means(values: Mapping[str, Any]) -> dict[str, Estimate]:
    """`mean` of each sample, by name.

    Example:
        >>> means({"curvature": [1.0, 3.0]})
        {'curvature': Estimate(value=2.0, standard_error=1.0)}
    """
    return {name: mean(sample) for name, sample in values.items()}


def share_interval(hits: int, count: int, deviations: float = 1.959964) -> Interval:
    """Wilson's interval of a share, from how many of a sample have a property.

    Unlike the mean and some standard errors it stays within [0, 1] and is of some width
    where all or none have it (Wilson 1927, Journal of the American Statistical
    Association 22, page 209): the shares p with `|p - hits / count| <= deviations *
    sqrt(p (1 - p) / count)`.

    Args:
        hits: How many have it, from 0 to `count`.
        count: Size of the sample, at least 1.
        deviations: Half the width in standard deviations; by default for 95 %.

    Returns:
        The least and the largest share.

    Raises:
        ValueError: If `hits` is not within 0 and `count`, or `count` is less than 1.

    Example:
        >>> low, high = share_interval(50, 100)
        >>> round(low, 3), round(high, 3)
        (0.404, 0.596)
    """
    if not 0 <= hits <= count or count < 1:
        raise ValueError(
            "`hits` must be from 0 to `count`, and `count` at least 1. Received: "
            f"hits={hits}, count={count}"
        )
    share, spread = hits / count, deviations**2 / count
    middle = share + spread / 2
    half = deviations * math.sqrt((share * (1 - share) + spread / 4) / count)
    # Rounding may lead out by a little.
    low, high = ((middle + sign * half) / (1 + spread) for sign in (-1, 1))
    return Interval(max(low, 0.0), min(high, 1.0))
