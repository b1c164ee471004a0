"""The quickstart, run as a newcomer runs it."""

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tfrobust.cli import program
from trainers import quickstart, quickstart_steps


def test_help_and_mistakes_start_nothing(monkeypatch, capsys):
    """`--help` explains; a stray argument is refused; neither trains."""

    def never(*_, **__):
        raise AssertionError("it began")

    monkeypatch.setattr(subprocess, "run", never)
    monkeypatch.setattr(sys, "argv", ["quickstart", "--help"])
    program.run(quickstart.main, lambda: quickstart.__doc__)
    assert "tfrobust quickstart" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["quickstart", "now"])
    with pytest.raises(SystemExit) as stop:
        program.run(quickstart.main, lambda: quickstart.__doc__)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: Unexpected argument 'now'")


def test_a_step_that_fails_ends_it_with_the_same_code():
    """The failed process has said why; no traceback is laid over it."""
    quickstart_steps._run("--version")
    with pytest.raises(SystemExit) as stop:
        quickstart_steps._run("train", "--no_such_flag")
    assert stop.value.code == 2


@pytest.fixture
def small_flags(monkeypatch, tmp_path):
    """A refused training run, for the quickstart to meet."""
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    (tmp_path / "runs" / "quickstart" / "mine.txt").write_text("mine")
    return tmp_path


@pytest.mark.slow
def test_foreign_folder(small_flags, call_module):
    """What is not a run at runs/quickstart is left alone, in one sentence."""
    ended = call_module("trainers.quickstart", cwd=small_flags)
    assert "so --overwrite will not delete it" in ended.error
    folder = small_flags / "runs" / "quickstart"
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


@pytest.fixture
def shortened(monkeypatch, tmp_path):
    """The quickstart with less to learn from, in a folder of its own."""
    flags = tmp_path / "shortened.flags"
    flags.write_text(
        "--flagfile=quickstart\n--train_examples=2000\n--epochs=2\n--model=vgg11\n"
    )
    monkeypatch.setattr(quickstart_steps, "_FLAGFILE", str(flags))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "quickstart"


@pytest.mark.slow
def test_the_whole_road(shortened, capfd):
    """Train, attack, export, query: it ends well, its table is plausible, its files
    are there, and the export agrees with the model.
    """
    quickstart.main()
    out = capfd.readouterr().out
    table = {
        name.strip(): (int(count), float(value) / 100)
        for name, count, value in re.findall(
            r"^(\S.*?)\s{2,}(\d+)\s+([\d.]+)%$", out, flags=re.MULTILINE
        )
    }
    print(table)
    assert [count for count, _ in table.values()] == [2000, 300, 300, 300]
    whole, clean, euclidean, maximum = (value for _, value in table.values())
    assert whole > 0.2, "ten classes: 0.1 is chance"
    assert abs(whole - clean) < 0.1
    assert euclidean <= clean and maximum <= clean
    assert min(euclidean, maximum) < clean, "no attack found anything"
    gap = re.search(r"logits within (\S+) of the Keras model's", out)
    assert float(gap[1]) < 1e-4
    assert (shortened / "served" / "shapes" / "1" / "saved_model.pb").exists()
    for name in ("attacked.png", "curves.png"):
        assert f"runs/quickstart/{name}" in out
        assert (shortened / name).read_bytes().startswith(b"\x89PNG")
    left = {path.name for path in shortened.parents[1].iterdir()}
    assert left == {"runs", "shortened.flags"}
