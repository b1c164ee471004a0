"""Results that were kept: read, put into one table, and compared with earlier ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.reports import FORMAT
from tfrobust.cli import tables

Content = dict[str, Any]
"""What one benchmark wrote, see `benchmarks.reports.Report`."""

Pair = tuple[float, float]
"""A number and its standard error."""


class _Value(NamedTuple):
    """What a claim or a comparison is about, of one row."""

    name: str
    measure: str
    pair: Pair | None
    at_most: float | None
    is_claimed: bool


def read(path: Path) -> Content:
    """One benchmark's results.

    Raises:
        ValueError: If the file is no such results.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be JSON. Received: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else content
        raise ValueError(
            f"{path} must be results of format {FORMAT}. Received: {found!r}"
        )
    return content


def read_all(folder: Path) -> dict[str, Content]:
    """The results that lie in a folder, by the benchmark's name.

    Raises:
        ValueError: If there is no such folder, or a file in it is no results.
    """
    if not folder.is_dir():
        raise ValueError(f"results must lie in a folder. Received: {folder}")
    found = [read(path) for path in sorted(folder.glob("*.json"))]
    return {content["benchmark"]: content for content in found}


def summary(results: Mapping[str, Content]) -> str:
    """One Markdown table: what each claim is about, what came out, and when.

    Args:
        results: By name.
    """
    rows: list[list[Any]] = []
    for name, content in results.items():
        claimed = [value for value in _values(content) if value.is_claimed]
        for value in claimed or [_Value("-", "-", None, None, True)]:
            rows.append(
                [
                    _named(name, content),
                    content["claim"],
                    value.name,
                    value.measure.replace("_", " "),
                    value.pair,
                    value.at_most,
                    content["date"][:10],
                ]
            )
    return _table(
        ["benchmark", "claim", "of", "measure", "value", "at most", "date"],
        rows,
        text=(0, 1, 2, 3, 6),
    )


def comparison(then: Mapping[str, Content], now: Mapping[str, Content]) -> str:
    """One Markdown table of every row's ratio in two sets of results.

    The last column is the quotient of the two with its standard error. What was
    measured with other arguments says so, since it is not the same quantity.

    Args:
        then: Earlier results, by name.
        now: Later ones.
    """
    rows: list[list[Any]] = []
    for name in [*now, *(name for name in then if name not in now)]:
        pairs = [_by_row(results.get(name)) for results in (then, now)]
        for key in [*pairs[1], *(key for key in pairs[0] if key not in pairs[1])]:
            earlier, later = (pair.get(key) for pair in pairs)
            rows.append(
                [name, *key, earlier, later, _quotient(earlier, later)]
                + [_difference(then.get(name), now.get(name))]
            )
    heads = ["benchmark", "of", "measure", "then", "now", "now / then", "note"]
    return _table(heads, rows, text=(0, 1, 2, 6))


def _named(name: str, content: Content) -> str:
    return f"{name} (quick)" if content["arguments"].get("quick") else name


def _values(content: Content) -> Iterator[_Value]:
    """The measure of every row that has it; of a claimed row that has it not, none."""
    for table in content["tables"]:
        measure = table["measure"]
        for row in table["rows"]:
            is_claimed = row["name"] in table["claimed"]
            number, error = row.get(measure), row.get(f"{measure}_error")
            if number is None and not is_claimed:
                continue
            pair = None if number is None else (number, error or 0.0)
            name = ": ".join(filter(None, [table["key"], row["name"]]))
            bound = table["claimed"].get(row["name"])
            yield _Value(name, measure, pair, bound, is_claimed)


def _by_row(content: Content | None) -> dict[tuple[str, str], Pair]:
    """Ratios by row and measure; what is compared with itself is left out."""
    if content is None:
        return {}
    return {
        (value.name, value.measure.replace("_", " ")): value.pair
        for value in _values(content)
        if value.pair is not None and value.pair != (1.0, 0.0)
    }


def _quotient(earlier: Pair | None, later: Pair | None) -> Pair | None:
    """Of two independent numbers; relative errors add up as squares."""
    if earlier is None or later is None or not earlier[0]:
        return None
    value = later[0] / earlier[0]
    relative = [error / number if number else 0.0 for number, error in (earlier, later)]
    return value, abs(value) * math.hypot(*relative)


def _difference(then: Content | None, now: Content | None) -> str:
    """Why two results are not of the same thing, empty if they are."""
    if then is None or now is None:
        return "not measured " + ("then" if then is None else "now")
    keys = [
        key
        for key in {**then["arguments"], **now["arguments"]}
        if then["arguments"].get(key) != now["arguments"].get(key)
    ]
    parts = [f"other --{key}" for key in keys]
    for key in ("tensorflow", "keras", "cores"):
        before, after = then["machine"].get(key), now["machine"].get(key)
        if before != after:
            parts.append(f"{key} {before}, now {after}")
    return "; ".join(parts)


def _table(heads: list[str], rows: list[list[Any]], text: tuple[int, ...]) -> str:
    """Markdown; columns that are not text hold numbers or pairs."""
    columns = [
        tables.Column(head, numeric=False)
        if place in text
        else tables.Column(head, _number)
        for place, head in enumerate(heads)
    ]
    return tables.Table(columns, rows).markdown()


def _number(value: float | Pair) -> str:
    """A pair without an error, of something counted, as the number alone."""
    is_exact = isinstance(value, tuple) and not value[1]
    return tables.number(value[0] if is_exact else value)  # type: ignore[index]
