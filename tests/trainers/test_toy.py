"""`trainers.toy`: what it refuses, and a real run from flags to files."""

import contextlib
import csv
import io
import re
import sys

import numpy as np
import pytest
from absl import flags

from tfrobust import data
from trainers import options, program, toy


@pytest.fixture
def run_toy(monkeypatch):
    """`run_toy(flag, ...)`: runs `trainers.toy` here; exit code, stdout, stderr."""
    options.GROUPS.clear()
    toy.define_flags()

    def run(*arguments):
        flags.FLAGS.unparse_flags()
        monkeypatch.setattr(sys, "argv", ["toy", *map(str, arguments)])
        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                program.run(toy.main, lambda: options.grouped_help(toy.__doc__))
            except SystemExit as stop:
                code = stop.code
        return code, out.getvalue(), err.getvalue()

    yield run
    names = [name for group in options.GROUPS.values() for name in group]
    flags.FLAGS.unparse_flags()
    flags.FLAGS.remove_flag_values(names)
    options.GROUPS.clear()


@pytest.fixture
def untrained(monkeypatch):
    """Nothing may be trained."""

    def never(*_):
        raise AssertionError("it trains")

    monkeypatch.setattr(toy, "_trained", never)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--task=three_moons"], r"flag --task=three_moons: .*two_moons"),
        (["--seeds=0"], r"flag --seeds=0"),
        (["--seed=-1"], r"flag --seed=-1"),
        (["--examples=3"], r"flag --examples=3"),
        (["--noise=2"], r"flag --noise=2"),
        (["--noise=nan"], r"--noise=nan must be a number from 0 to 1\."),
        (["--steps=0"], r"flag --steps=0"),
        (["--out={tmp}/file"], r"--out=.*/file is a file, not a folder\."),
        (["--out={tmp}/file/below"], r"cannot be written: .*/file is not a folder"),
        (["--out={tmp}/full"], r"already holds two_moons\.csv; choose .*--overwrite"),
        (["two_moons"], r"Unexpected argument 'two_moons'"),
    ],
)
def test_mistakes_end_in_one_sentence(run_toy, untrained, tmp_path, wrong, message):
    """Exit code 2, one line, nothing trained and nothing written."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "two_moons.csv").write_text("mine")
    code, out, err = run_toy(
        f"--out={tmp_path}/new", *(flag.format(tmp=tmp_path) for flag in wrong)
    )
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert re.search(message, err), err
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "full" / "two_moons.csv").read_text() == "mine"


def test_help_names_every_flag(run_toy, untrained):
    """Each flag with its default; nothing runs."""
    code, out, _ = run_toy("--help")
    assert code == 0
    for name in ("task", "seeds", "seed", "examples", "noise", "steps", "overwrite"):
        assert f"--{name}" in out


def test_errors_over_seeds_are_those_of_the_mean():
    """By hand: values 1, 2, 6 have mean 3 and standard error sqrt(7/3)."""
    ((mean, error),) = toy._over_seeds([(1.0,), (2.0,), (6.0,)])
    assert mean == pytest.approx(3)
    assert error == pytest.approx(np.sqrt(7 / 3))
    assert toy._over_seeds([(1.0, 5.0)]) == [1.0, 5.0]


def test_probabilities_are_those_of_the_grid():
    """Rows run over y from below, columns over x: a network that sees x alone."""
    import tensorflow as tf

    def network(points):
        return tf.stack([tf.zeros(len(points)), 4 * points[:, 0] - 2], axis=1)

    grid = toy._probabilities(network)
    expected = 1 / (1 + np.exp(2 - 4 * np.linspace(0, 1, grid.shape[1])))
    np.testing.assert_allclose(grid, np.tile(expected, (grid.shape[0], 1)), rtol=1e-5)


@pytest.mark.slow
def test_a_run_finds_the_smoother_boundary(run_toy, tmp_path):
    """All four networks learn, LCNN has less than half the curvature of the standard
    one, and the files hold what was printed; a second run replaces them if told to.
    """
    arguments = ("--task=two_moons", "--seeds=1", "--steps=300", f"--out={tmp_path}")
    code, out, _ = run_toy(*arguments)
    assert code == 0
    names = ["two_moons.csv", "two_moons.md", "two_moons.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with open(tmp_path / "two_moons.csv") as file:
        rows = {row["network"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["standard", "GradReg", "LCNN", "LCNN + GradReg"]
    for row in rows.values():
        assert float(row["test accuracy"]) > 0.9
        assert f"{float(row['test accuracy']):.1%}" in out
    curvature = {name: float(row["curvature"]) for name, row in rows.items()}
    assert curvature["LCNN"] < 0.5 * curvature["standard"]
    assert (tmp_path / "two_moons.png").read_bytes()[1:4] == b"PNG"
    assert "(two_moons.png)" in (tmp_path / "two_moons.md").read_text()
    before = (tmp_path / "two_moons.csv").read_bytes()
    assert run_toy(*arguments)[0] == 2
    assert (tmp_path / "two_moons.csv").read_bytes() == before


def test_the_same_seed_trains_the_same_network():
    """Two trainings of one seed agree; another seed does not."""
    train = data.make_two_moons(40, 0.2, 0)
    first, again, other = (
        np.concatenate([np.ravel(w) for w in toy._trained("LCNN", train, s, 5).weights])
        for s in (0, 0, 1)
    )
    np.testing.assert_allclose(again, first, rtol=1e-5, atol=1e-6)
    assert np.abs(other - first).max() > 1e-2
