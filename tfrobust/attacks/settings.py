"""Checks of the settings of attacks."""

from __future__ import annotations

import math


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raises a one-sentence `ValueError` unless a setting is allowed."""
    if not holds:
        raise ValueError(f"`{name}` must be {allowed}. Received: {name}={value}")


def require_positive(name: str, value: float) -> None:
    """Raises `ValueError` unless a setting is a finite number above 0."""
    require(0 < value < math.inf, name, value, "a finite number above 0")


def require_steps(name: str, value: int) -> None:
    """Raises `ValueError` unless a setting is a count of at least 1."""
    require(value >= 1, name, value, "at least 1")
