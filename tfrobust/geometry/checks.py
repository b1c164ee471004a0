"""Argument checks that the measures share."""

from __future__ import annotations

import numbers
from typing import Any


def check_integer(name: str, value: Any, least: int) -> int:
    """`value` as an int of at least `least`, or a one-sentence `ValueError`."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < least:
        raise ValueError(
            f"`{name}` must be an integer of at least {least}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def check_seed(value: Any) -> int:
    """`value` as an int in [0, 2**31), or a one-sentence `ValueError`."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or not 0 <= value < 2**31:
        raise ValueError(
            f"`seed` must be an integer in [0, 2**31). Received: seed={value!r}"
        )
    return int(value)


def check_positive(name: str, value: Any) -> float:
    """`value` as a positive finite float, or a one-sentence `ValueError`."""
    if not 0 < value < float("inf"):
        raise ValueError(
            f"`{name}` must be a positive finite number. Received: {name}={value}"
        )
    return float(value)
