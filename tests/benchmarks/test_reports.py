"""What a benchmark prints and keeps."""

import json
import math
import sys

import numpy as np
import pytest

from benchmarks import reports

DOC = "Claim: ours takes at most half of the time.\n\n    more\n"


def parsed(*argv):
    parser = reports.Parser("/anywhere/stub.py", DOC, quick={"width": 2, "rounds": 1})
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=8)
    return parser.parse(list(argv))


def strict(path):
    """The content of a file that holds JSON and nothing that only Python reads."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_one_structure_is_printed_and_kept(tmp_path, capsys):
    path = tmp_path / "new" / "stub.json"
    arguments, report = parsed(f"--json={path}", "--width=3")
    assert (arguments.width, arguments.rounds) == (3, 8)
    rows = [
        {"name": "theirs", "wall_s": np.float64(0.5), "cpu_ratio": 1.0, "rounds": 2},
        {"name": "ours", "wall_s": 0.25, "cpu_ratio": math.nan, "count": np.int64(3)},
    ]
    columns = {"wall_s": ".3f", "cpu_ratio": ".2f", "count": "d"}
    report.table("a title", rows, columns, key="L2", claimed={"ours": 0.5})
    report.note("A sentence.")
    report.save()
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "# stub: ours takes at most half of the time."
    start = lines.index("a title")
    assert lines[start + 2 : start + 6] == [
        "| | wall s | cpu ratio | count |",
        "|---|---|---|---|",
        "| theirs | 0.500 | 1.00 | |",
        "| ours | 0.250 | nan | 3 |",
    ]
    assert lines[-1] == "A sentence."
    kept = strict(path)
    assert (kept["benchmark"], kept["format"]) == ("stub", reports.FORMAT)
    assert kept["claim"] == "ours takes at most half of the time."
    assert kept["arguments"] == {"quick": False, "width": 3, "rounds": 8}
    assert kept["notes"] == ["A sentence."]
    (table,) = kept["tables"]
    assert (table["key"], table["measure"]) == ("L2", "cpu_ratio")
    assert table["claimed"] == {"ours": 0.5}
    assert table["rows"] == [
        {"name": "theirs", "wall_s": 0.5, "cpu_ratio": 1.0, "rounds": 2},
        {"name": "ours", "wall_s": 0.25, "cpu_ratio": None, "count": 3},
    ]


def test_the_claim_is_above_a_note_and_there_once(capsys):
    report = parsed()[1]
    report.note("First.")
    report.table("t", [{"name": "a"}], {})
    out = capsys.readouterr().out
    assert out.startswith("# stub: ours") and out.count("# stub: ours") == 1
    assert out.index("First.") < out.index("| a ")


def test_the_machine_and_the_date_are_kept():
    import datetime
    import importlib.metadata
    import platform

    content = parsed()[1].content
    machine = content["machine"]
    assert machine["python"] == platform.python_version()
    for package in ("tensorflow", "keras", "numpy"):
        assert machine[package] == importlib.metadata.version(package)
    assert machine["cores"] >= 1 and machine["load_before"] >= 0
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(
        content["date"]
    )
    assert abs(age.total_seconds()) < 60


def test_quick_changes_defaults_and_not_what_is_given():
    arguments, report = parsed("--quick", "--width=5")
    assert (arguments.width, arguments.rounds) == (5, 1)
    assert report.content["arguments"]["quick"] is True


def test_a_path_that_cannot_be_written_is_refused_before_measuring(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        parsed(f"--json={tmp_path}/file/stub.json")
    assert ended.value.code == 2
    assert "`--json` must lie in a folder. Received: " in capsys.readouterr().err


def test_nothing_is_written_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parsed()[1].save()
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_ends_the_program_with_a_sentence(capsys):
    def main():
        raise reports.Missing("there is no peer.")

    with pytest.raises(SystemExit) as ended:
        reports.start(main)
    assert ended.value.code == reports.SKIPPED
    said = capsys.readouterr().err
    assert said == "skipped: there is no peer.\n"
    assert reports.reason_of(["a warning\n", said]) == "there is no peer."


def test_a_data_set_that_is_not_prepared_is_missing(tmp_path):
    with pytest.raises(reports.Missing) as error:
        reports.need_data("mnist", str(tmp_path))
    message = f"the data set mnist is not prepared in {tmp_path}."
    assert str(error.value) == message
    reports.need_data("shapes", None)


def test_reports_do_not_import_tensorflow():
    import subprocess

    code = "import sys, benchmarks.__main__; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("doc", "claim"),
    [(DOC, "ours takes at most half of the time."), ("Helps.", ""), (None, "")],
)
def test_the_claim_is_behind_its_word(doc, claim):
    assert reports.claim_of(doc) == claim
