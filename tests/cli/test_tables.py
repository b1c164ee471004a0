"""Tables say the same as text, as Markdown and as CSV."""

import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrobust.cli.tables import Column, Table, formatted, number, percent

TABLE = Table(
    [
        Column("model", numeric=False),
        Column("share", percent),
        Column("norm", number),
        Column("count"),
    ],
    [
        ["plain", (0.5, 0.012345678901234567), 3.14159, 7],
        ["a|b, c", None, (12.3456, 0.4567), None],
    ],
)


def test_text_is_aligned():
    """Words start and numbers end at the same place in every line."""
    assert TABLE.text().splitlines() == [
        "model           share           norm  count",
        "------  -------------  -------------  -----",
        "plain   50.0% +- 1.2%          3.142      7",
        "a|b, c              -  12.35 +- 0.46      -",
    ]


def test_markdown_keeps_its_columns():
    """A cell with a bar in it does not end there."""
    assert TABLE.markdown().splitlines() == [
        "| model | share | norm | count |",
        "|---|---|---|---|",
        "| plain | 50.0% +- 1.2% | 3.142 | 7 |",
        "| a\\|b, c | - | 12.35 +- 0.46 | - |",
    ]


def test_csv_read_back_has_every_digit():
    """Pairs have two columns, floats survive exactly, `None` is empty."""
    rows = list(csv.DictReader(io.StringIO(TABLE.csv(), newline="")))
    error = "standard error"
    assert list(rows[0]) == [
        "model",
        "share",
        f"share {error}",
        "norm",
        f"norm {error}",
        "count",
    ]
    plain, other = (list(row.values()) for row in rows)
    assert plain[0] == "plain" and other[0] == "a|b, c"
    assert [float(cell) for cell in plain[1:4]] == [0.5, 0.012345678901234567, 3.14159]
    assert plain[4:] == ["", "7"]
    assert other[1:3] == ["", ""] and other[5] == ""
    assert (float(other[3]), float(other[4])) == (12.3456, 0.4567)


def test_a_row_that_does_not_fit_is_an_error():
    """One cell too few would shift a column unseen."""
    with pytest.raises(ValueError, match="must have 2 cells each.*Received: 1 cells"):
        Table([Column("a"), Column("b")], [[1]])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((12.3456, 0.4567), "12.35 +- 0.46"),
        ((1234.5, 67.8), "1234 +- 68"),
        ((49.5, 4.0), "49.5 +- 4.0"),
        ((0.00190, 0.00014), "0.00190 +- 0.00014"),
        ((2.17e-4, 1.84e-5), "2.17e-04 +- 1.8e-05"),
        ((1.0, 0.0), "1 +- 0"),
        ((2.0, math.nan), "2 +- nan"),
        ((math.inf, math.nan), "inf +- nan"),
        (0.1234567, "0.1235"),
    ],
)
def test_number(value, expected):
    """The error has two digits, and the number ends where its error ends."""
    assert number(value) == expected


@given(
    st.floats(-1e9, 1e9, allow_subnormal=False),
    st.floats(1e-9, 1e9, allow_subnormal=False),
)
def test_number_loses_less_than_the_error_resolves(mean, error):
    """Read back, both are off by at most a tenth of the error."""
    shown, shown_error = map(float, number((mean, error)).split(" +- "))
    assert abs(shown - mean) <= 0.1 * error + 1e-12 * abs(mean)
    assert abs(shown_error - error) <= 0.1 * error


def test_formatted():
    """A form given as a format string."""
    assert formatted("{:.2%}")(0.12345) == "12.35%"
