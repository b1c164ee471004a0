"""Numbers as people write them: 0.03, or 8/255 for eight steps of an 8-bit pixel."""

from __future__ import annotations

import dataclasses
import math


def parse_fraction(text: float | str) -> float:
    """The finite number that a text such as `8/255` or `0.03` stands for.

    Args:
        text: A number, or two with a slash between.

    Raises:
        ValueError: If it is none, or not finite.

    Example:
        >>> parse_fraction("51/255"), parse_fraction(0.5)
        (0.2, 0.5)
    """
    numerator, slash, denominator = str(text).partition("/")
    try:
        value = float(numerator) / (float(denominator) if slash else 1.0)
    except ZeroDivisionError:
        raise ValueError(f"{text} divides by zero") from None
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def format_fraction(value: float) -> str:
    """A number as a person would write it: in 255ths where it is so many, exactly.

    `parse_fraction` reads the same number from it.

    Example:
        >>> [format_fraction(value) for value in (0.1, 8 / 255, 1.0, 1 / 7)]
        ['0.1', '8/255', '1', '0.14285714285714285']
    """
    if float(f"{value:g}") == value:
        return f"{value:g}"
    levels = 255 * value
    if math.isfinite(levels) and round(levels) / 255 == value:
        return f"{round(levels)}/255"
    return repr(value)


@dataclasses.dataclass(frozen=True, order=True)
class Eps:
    """The radius of an attack, and how it was written, such as `8/255`.

    Example:
        >>> eps = Eps.parse("51/255")
        >>> eps.value, str(eps)
        (0.2, '51/255')
    """

    value: float
    text: str = dataclasses.field(compare=False)

    @classmethod
    def parse(cls, text: str) -> Eps:
        """A radius of at least 0; raises `ValueError` over anything else."""
        text = text.strip()
        try:
            value = parse_fraction(text)
        except ValueError:
            value = math.nan
        if not value >= 0:
            raise ValueError(
                "must be numbers of at least 0, such as 0.1 or 8/255, with commas "
                f"between. Received: {text!r}"
            )
        return cls(value, text)

    def __str__(self) -> str:
        return self.text


def parse_radii(text: str) -> tuple[Eps, ...]:
    """Every radius in `text`, rising, each once.

    Args:
        text: Numbers or fractions with commas between.

    Raises:
        ValueError: If one is no radius, or there is none.

    Example:
        >>> [str(eps) for eps in parse_radii("16/255, 8/255")]
        ['8/255', '16/255']
    """
    if not text.strip():
        raise ValueError("must be given at least one radius")
    # Of two ways to write one radius the first is kept.
    radii = {eps.value: eps for eps in map(Eps.parse, reversed(text.split(",")))}
    return tuple(sorted(radii.values()))
