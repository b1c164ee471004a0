"""Summaries and comparisons of results, against tables written by hand."""

import json

import pytest

from benchmarks import kept


def result(ratio, error=0.0, measure="cpu_ratio", **changes):
    rows = [
        {"name": "base", measure: 1.0, f"{measure}_error": 0.0},
        {"name": "ours", measure: ratio, f"{measure}_error": error},
    ]
    table = {"key": "L2", "title": "t", "measure": measure, "rows": rows}
    return {
        "format": 1,
        "benchmark": "stub",
        "claim": "ours is fast.",
        "date": "2024-05-06T07:08:09+00:00",
        "arguments": {"width": 4, "quick": False},
        "machine": {"tensorflow": "2.20.0", "keras": "3.15.1", "cores": 2},
        "tables": [table | {"claimed": {"ours": 0.5}}],
        **changes,
    }


def rows_of(table):
    """Cells of the rows below the head."""
    lines = table.splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_summary_has_the_claimed_rows():
    quick = result(0.25, measure="ratio", arguments={"quick": True})
    table = kept.summary({"stub": result(0.45, 0.012), "second": quick})
    assert rows_of(table) == [
        ["stub", "ours is fast.", "L2: ours", "cpu ratio", "0.450 +- 0.012", "0.5"]
        + ["2024-05-06"],
        ["second (quick)", "ours is fast.", "L2: ours", "ratio", "0.25", "0.5"]
        + ["2024-05-06"],
    ]


def test_a_claim_without_a_number_is_not_hidden():
    """The row measured nothing, or there is no such row."""
    (row,) = rows_of(kept.summary({"stub": result(None)}))
    assert row[2:6] == ["L2: ours", "cpu ratio", "-", "0.5"]
    (row,) = rows_of(kept.summary({"stub": result(1.0, tables=[])}))
    assert row[:1] + row[2:6] == ["stub", "-", "-", "-", "-"]


def test_then_and_now_with_the_error_of_their_quotient():
    """Relative errors .03 and .04 make .05; the base is left out."""
    then, now = result(0.5, 0.015), result(0.4, 0.016)
    (row,) = rows_of(kept.comparison({"stub": then}, {"stub": now}))
    assert row[:3] == ["stub", "L2: ours", "cpu ratio"]
    assert row[3:] == ["0.500 +- 0.015", "0.400 +- 0.016", "0.800 +- 0.040", ""]


def test_other_arguments_and_versions_are_named():
    now = result(
        1.5,
        arguments={"width": 8, "quick": False},
        machine={"tensorflow": "2.21.0", "keras": "3.15.1", "cores": 2},
    )
    (row,) = rows_of(kept.comparison({"stub": result(2.0)}, {"stub": now}))
    assert row[-2:] == ["0.75", "other --width; tensorflow 2.20.0, now 2.21.0"]


def test_what_was_measured_once_only_is_named():
    then, now = {"old": result(2.0)}, {"new": result(3.0)}
    assert rows_of(kept.comparison(then, now)) == [
        ["new", "L2: ours", "cpu ratio", "-", "3", "-", "not measured then"],
        ["old", "L2: ours", "cpu ratio", "2", "-", "-", "not measured now"],
    ]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 7}', json.dumps({"a": 1})])
def test_other_files_are_refused(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path} must be .*Received: "):
        kept.read_all(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError) as error:
        kept.read_all(tmp_path / "none")
    message = f"results must lie in a folder. Received: {tmp_path / 'none'}"
    assert str(error.value) == message


def test_what_was_written_is_read(tmp_path):
    (tmp_path / "stub.json").write_text(json.dumps(result(0.5)))
    assert kept.read_all(tmp_path) == {"stub": result(0.5)}
