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
