"""Checks of numbers and words that set something up."""

from __future__ import annotations

import math
import numbers
from typing import Any

# Stateless draws take a seed as one of two int32 numbers.
_SEEDS = 2**31


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raises a one-sentence `ValueError` unless a setting is allowed."""
    if not holds:
        raise ValueError(f"`{name}` must be {allowed}. Received: {name}={value!r}")


def require_positive(name: str, value: float) -> None:
    """Raises `ValueError` unless a setting is a finite number above 0."""
    require(0 < value < math.inf, name, value, "a finite number above 0")


def require_not_negative(name: str, value: float) -> None:
    """Raises `ValueError` unless a setting is a finite number of at least 0."""
    require(0 <= value < math.inf, name, value, "finite and at least 0")


def require_steps(name: str, value: Any) -> None:
    """Raises `ValueError` unless a setting is a count of at least 1."""
    holds = _is_integer(value) and value >= 1
    require(holds, name, value, "an integer of at least 1")


def require_seed(value: Any, name: str = "seed") -> None:
    """Raises `ValueError` unless a setting is a seed, an integer in [0, 2**31)."""
    holds = _is_integer(value) and 0 <= value < _SEEDS
    require(holds, name, value, "an integer in [0, 2**31)")


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
