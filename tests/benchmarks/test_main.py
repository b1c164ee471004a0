"""`python -m benchmarks`: stub benchmarks through the runner, in processes."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import reports, runner

HEAD = '''
"""Claim: {name} is quick."""
import sys
from benchmarks.reports import Missing, Parser, start

def main():
    parser = Parser(__file__, __doc__, quick={{"ratio": 0.5}})
    parser.add_argument("--ratio", type=float, default=0.25)
    arguments, report = parser.parse()
    {body}
    rows = [{{"name": "a", "ratio": 1.0}}, {{"name": "b", "ratio": arguments.ratio}}]
    report.table("t", rows, {{"ratio": ".2f"}}, claimed={{"b": 0.5}}, measure="ratio")
    return report

if __name__ == "__main__":
    start(main)
'''
STUBS = {
    "broken": 'raise ValueError("it broke")',
    "fine": "pass",
    "lacking": 'raise Missing("there is no peer.")',
    "mute": "sys.exit(0)",
}


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """A package of stubs that processes find."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    for name, body in STUBS.items():
        text = HEAD.format(name=name, body=body)
        (folder / f"{name}.py").write_text(text.lstrip())
    (folder / "helper.py").write_text('"""Helps the others."""\nraise SystemExit(1)\n')
    repository = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{repository}")
    monkeypatch.chdir(tmp_path)
    return folder


def test_all_are_run_whatever_becomes_of_one(stubs, capfd):
    with pytest.raises(SystemExit) as ended:
        program.main(["--out=results"], stubs)
    assert ended.value.code == 3
    out, err = capfd.readouterr()
    assert err.endswith("failed: 2 of 4 benchmarks: broken, mute\n")
    assert "ValueError: it broke" in err
    results = Path("results")
    assert {path.name for path in results.iterdir()} == {"fine.json", "summary.md"}
    assert json.loads((results / "fine.json").read_text())["benchmark"] == "fine"
    page = (results / "summary.md").read_text()
    assert out.endswith(page)
    start = "| fine | fine is quick. | b | ratio | 0.25 | 0.5 | "
    row = re.escape(start) + r"\d{4}-\d\d-\d\d \|"
    assert any(re.fullmatch(row, line) for line in page.splitlines())
    assert "Skipped:\n\n- lacking: there is no peer.\n" in page
    assert "- broken: exit code 1: ValueError: it broke\n" in page
    assert "- mute: it ended without writing what it measured" in page


def test_then_and_now_in_one_folder(stubs, capfd):
    """What lay in the folder is compared with what replaces it."""
    program.main(["fine"], stubs)
    program.main(["fine", "--quick", "--compare=runs/bench"], stubs)
    page = capfd.readouterr().out
    row = "| fine | b | ratio | 0.25 | 0.5 | 2 | other --quick; other --ratio |"
    assert row in page.splitlines()
    assert "| fine (quick) | fine is quick. | b | ratio | 0.5 | 0.5 |" in page
    program.main(["--show"], stubs)
    assert "| fine (quick) |" in capfd.readouterr().out


def test_a_failure_leaves_earlier_results_as_they_were(stubs, capfd):
    results = Path("results")
    results.mkdir()
    for name in ("broken", "mute"):
        (results / f"{name}.json").write_text("kept")
    with pytest.raises(SystemExit):
        program.main(["broken", "mute", "--out=results"], stubs)
    for name in ("broken", "mute"):
        assert (results / f"{name}.json").read_text() == "kept"
        assert f"- {name}: " in (results / "summary.md").read_text()


def test_an_unknown_name_is_refused(stubs, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(["nothing"], stubs)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: `names` must be among broken, fine, lacking, mute. Received: nothing\n"
    )


def test_a_folder_that_is_not_there_is_refused_before_running(stubs, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(["fine", "--compare=elsewhere"], stubs)
    assert ended.value.code == 2
    assert "Received: elsewhere" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_the_list_is_that_of_the_files(capsys):
    """Read from the docstrings: every file of `benchmarks/` that makes a claim."""
    program.main(["--list"])
    lines = capsys.readouterr().out.splitlines()
    folder = Path(program.__file__).parent
    claiming = {
        path.stem
        for path in folder.glob("*.py")
        if path.read_text().startswith('"""Claim: ')
    }
    assert {line.split()[0] for line in lines} == claiming
    assert {"fit", "input_pipeline", "matmul_limit", "peers"} <= claiming


@pytest.mark.parametrize(
    "benchmark", runner.find(Path(program.__file__).parent), ids=lambda each: each.name
)
def test_every_benchmark_keeps_what_it_measures(benchmark):
    """Each has the common arguments, and ends as the runner expects."""
    path = Path(program.__file__).parent / f"{benchmark.name}.py"
    text = path.read_text()
    assert "Parser(__file__, __doc__, quick=_QUICK)" in text
    assert text.endswith('if __name__ == "__main__":\n    start(main)\n')
    assert "print(" not in text
    assert benchmark.claim == benchmark.claim.strip() and len(benchmark.claim) < 90


@pytest.mark.slow
def test_a_real_benchmark(tmp_path, monkeypatch, capfd):
    """A network of width 2 beside small matrices, in a process of its own."""
    monkeypatch.chdir(Path(program.__file__).parents[1])
    (benchmark,) = runner.choose(
        runner.find(Path(program.__file__).parent), ["matmul_limit"]
    )
    more = ["--quick", "--networks", "resnet9:2", "--matrix_size=256"]
    outcome = runner.run(benchmark, tmp_path, more)
    assert (outcome.state, outcome.reason) == (runner.DONE, "")
    (table,) = outcome.content["tables"]
    limit, step = table["rows"]
    assert limit["cpu_ratio"] == 1.0
    assert step["cpu_ratio"] > 1.0 and step["share"] == pytest.approx(
        1.0 / step["cpu_ratio"]
    )
    assert outcome.content["format"] == reports.FORMAT
    assert "resnet9, width 2, batch 16" in capfd.readouterr().out
