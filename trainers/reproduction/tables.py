"""A table of a paper as data, and the same with our numbers beside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from tfrobust.cli.tables import Column, Table, number
from trainers.reproduction.results import Results, Source, Value


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """A number of the paper, and where ours comes from.

    Args:
        theirs: As it is printed, `77.42` or `77.42 +- 0.11`; empty if there is none.
        ours: Where ours comes from; `None` if it cannot be measured here.

    Example:
        >>> Cell("77.42 +- 0.11").theirs_value
        77.42
    """

    theirs: str
    ours: Source | None = None

    @property
    def theirs_value(self) -> float:
        """The number that is printed; NaN if there is none."""
        return float(self.theirs.split(" +- ")[0]) if self.theirs else math.nan


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """A row: its title and a cell for each column."""

    title: str
    cells: Sequence[Cell]


@dataclasses.dataclass(frozen=True, eq=False)
class PaperTable:
    """A table of a paper.

    Args:
        label: Its label, such as `LCNN-T1`; docs/RESULTS.md explains them.
        title: What it shows.
        corner: Title of its first column.
        columns: Titles of the others.
        rows: Its rows.
        error: What stands behind +- in it; empty if nothing does.
        note: What else to say of it, a sentence or more.

    Raises:
        ValueError: If a row has more or fewer cells than there are columns.
    """

    label: str
    title: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[Row]
    error: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse a row that does not fit."""
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"`rows` of {self.label} must have {len(self.columns)} cells. "
                    f"Received: {len(row.cells)} in {row.title}"
                )

    def theirs(self, column: str) -> dict[str, float]:
        """The paper's numbers of a column, by row."""
        place = self.columns.index(column)
        return {row.title: row.cells[place].theirs_value for row in self.rows}

    def beside(self, results: Results) -> Table:
        """Two columns for each of the paper's, theirs and ours, and what ours is of."""
        heads = [Column(self.corner, numeric=False)]
        for title in self.columns:
            heads += [Column(f"{title}, paper"), Column(f"{title}, here", number)]
        heads += [Column("images"), Column("seeds")]
        return Table(heads, [_shown(row, results) for row in self.rows])

    def missing(self, results: Results) -> tuple[int, int]:
        """How many of the paper's numbers have none of ours, and how many there are."""
        printed = [cell for row in self.rows for cell in row.cells if cell.theirs]
        return sum(_value(cell, results) is None for cell in printed), len(printed)


def grid(
    numbers: str, titles: Sequence[str], ours: Callable[[str, int], Source | None]
) -> list[Row]:
    r"""Rows from a block of text with the paper's numbers.

    Args:
        numbers: One line for each row, a number for each column with blanks between;
            `77.42+-0.11` with its error, `-` where the paper has none.
        titles: Of the rows.
        ours: Where our number of a row, by its title, and a column, by its place, comes
            from.

    Example:
        >>> rows = grid("1.5+-0.1 -\n2 3", ["a", "b"], lambda row, column: None)
        >>> rows[0].cells[0].theirs, rows[0].cells[1].theirs, rows[1].cells[1].theirs
        ('1.5 +- 0.1', '', '3')
    """
    lines = [line.split() for line in numbers.strip().splitlines()]
    return [
        Row(
            title,
            [
                Cell(
                    "" if text == "-" else text.replace("+-", " +- "),
                    ours(title, place),
                )
                for place, text in enumerate(line)
            ],
        )
        for title, line in zip(titles, lines, strict=True)
    ]


def _value(cell: Cell, results: Results) -> Value | None:
    return None if cell.ours is None else cell.ours.value(results)


def _shown(row: Row, results: Results) -> list[object]:
    values = [_value(cell, results) for cell in row.cells]
    shown: list[object] = [row.title]
    for cell, value in zip(row.cells, values, strict=True):
        shown += [cell.theirs or None, None if value is None else as_cell(value)]
    found = [value for value in values if value is not None]
    images = [value.images for value in found if value.images]
    return [*shown, _span(images), _span([value.seeds for value in found])]


def _span(counts: Sequence[int]) -> str | None:
    """`100`, or `100 to 10000`; `None` without any."""
    ends = sorted(set(counts))
    if not ends:
        return None
    return str(ends[0]) if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"


def as_cell(value: Value) -> float | tuple[float, float]:
    """A value as a cell of a table: bare where it has no error."""
    return value.mean if math.isnan(value.error) else (value.mean, value.error)
