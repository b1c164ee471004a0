"""One table, shown as text on a terminal, as Markdown, or as CSV for a program.

A cell is text, a number, `None` where nothing was measured, or a pair (mean, standard
error). People see what a column's form makes of it; CSV has the full number, and the
standard error of a pair in a column of its own.

It is by hand, since rich, which comes along with Keras, fits a table to the width of
the terminal, 80 columns in a file or a pipe, and cuts what is wider.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

Form = Callable[[Any], str]

_MISSING = "-"


@dataclasses.dataclass(frozen=True)
class Column:
    """A column: its title and how its cells read.

    Args:
        title: The heading.
        form: Makes a string of a cell that is not `None`.
        numeric: Whether cells are numbers: aligned to the right.
    """

    title: str
    form: Form = str
    numeric: bool = True

    def show(self, cell: Any) -> str:
        """A cell as people read it."""
        return _MISSING if cell is None else self.form(cell)


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns and rows of equal length.

    Args:
        columns: The columns, from the left.
        rows: One sequence of cells a row.

    Raises:
        ValueError: If a row has more or fewer cells than there are columns.

    Example:
        >>> table = Table(
        ...     [Column("model", numeric=False), Column("accuracy", percent)],
        ...     [["plain", (0.5, 0.0124)], ["curved", None]])
        >>> print(table.text())
        model        accuracy
        ------  -------------
        plain   50.0% +- 1.2%
        curved              -
        >>> print(table.csv(), end="")
        model,accuracy,accuracy standard error
        plain,0.5,0.0124
        curved,,
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]

    def __post_init__(self) -> None:
        """Refuse a row that does not fit."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"`rows` must have {len(self.columns)} cells each, one for each "
                    f"column. Received: {len(row)} cells"
                )

    def shown(self) -> list[list[str]]:
        """Every cell as people read it."""
        return [
            [column.show(cell) for column, cell in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def text(self) -> str:
        """Aligned columns for a terminal, without a newline at the end."""
        lines = [[column.title for column in self.columns], *self.shown()]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        lines.insert(1, ["-" * width for width in widths])
        return "\n".join(self._align(line, widths) for line in lines)

    def markdown(self) -> str:
        """A GitHub table, without a newline at the end."""
        titles = [_escape(column.title) for column in self.columns]
        lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
        for cells in self.shown():
            lines.append("| " + " | ".join(map(_escape, cells)) + " |")
        return "\n".join(lines)

    def csv(self) -> str:
        """Comma-separated values in full precision, an empty cell for `None`."""
        paired = [
            any(isinstance(row[place], tuple) for row in self.rows)
            for place in range(len(self.columns))
        ]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(
            title
            for column, pair in zip(self.columns, paired, strict=True)
            for title in [column.title, f"{column.title} standard error"][: 1 + pair]
        )
        for row in self.rows:
            cells: list[Any] = []
            for cell, pair in zip(row, paired, strict=True):
                whole = cell if isinstance(cell, tuple) else (cell, None)
                cells += whole if pair else [cell]
            writer.writerow(cells)
        return buffer.getvalue()

    def _align(self, cells: list[str], widths: list[int]) -> str:
        placed = [
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(cells, widths, self.columns, strict=True)
        ]
        return "  ".join(placed).rstrip()


def formatted(form: str) -> Form:
    """The form that `str.format` makes of a number, for instance `"{:.3g}"`.

    Example:
        >>> formatted("{:.2f}")(2)
        '2.00'
    """
    return form.format


def percent(value: float | tuple[float, float]) -> str:
    """A share of 1, or a pair of it and its standard error, in percent.

    Example:
        >>> percent(0.125), percent((0.5, 0.01))
        ('12.5%', '50.0% +- 1.0%')
    """
    if isinstance(value, tuple):
        return f"{value[0]:.1%} +- {value[1]:.1%}"
    return f"{value:.1%}"


def number(value: float | tuple[float, float]) -> str:
    """A number, or a pair of it and its standard error, to what the error allows.

    The error has two digits and the number ends where the error does.

    Example:
        >>> number((12.3456, 0.4567)), number((1234.5, 67.8)), number((2e-5, 3e-6))
        ('12.35 +- 0.46', '1234 +- 68', '2.00e-05 +- 3.0e-06')
        >>> number(3.14159)
        '3.142'
    """
    if not isinstance(value, tuple):
        return f"{value:.4g}"
    mean, error = value
    if not (math.isfinite(mean) and math.isfinite(error) and error > 0):
        return f"{mean:.4g} +- {error:.2g}"
    place = math.floor(math.log10(error))
    if place >= -4 and abs(mean) < 1e6:
        digits = max(0, 1 - place)
        return f"{mean:.{digits}f} +- {error:.{digits}f}"
    size = math.floor(math.log10(max(abs(mean), error)))
    return f"{mean:.{size - place + 1}e} +- {error:.1e}"


def _escape(cell: str) -> str:
    """A cell that cannot end its column."""
    return cell.replace("|", "\\|")
