"""Argument checks that the layers share."""

from __future__ import annotations

import numbers
from typing import Any


def check_positive_integer(name: str, value: Any) -> None:
    """Raises a one-sentence `ValueError` unless `value` is an integer of 1 or more."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < 1:
        raise ValueError(
            f"`{name}` must be an integer of at least 1. Received: {name}={value!r}"
        )
