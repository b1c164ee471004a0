"""What the tests of every suite share: the program in this process, and its files."""

import contextlib
import csv
import io
import sys
from pathlib import Path

import numpy as np

import trainers
from tests.seeds import set_seeds
from tests.trainers.conftest import Ended
from tests.trainers.programs import defined_flags
from tfrobust import models
from tfrobust.cli import flags as cli_flags
from tfrobust.cli import program
from tfrobust.cli.flagfiles import expand_flagfiles
from tfrobust.cli.records import read_evaluation
from trainers import evaluate
from trainers.suites import samples
from trainers.suites import suite as registry
from trainers.suites.options import EvaluateConfig

# An evaluation by the suite lcnn that takes seconds.
SMALL = (
    "--suite=lcnn",
    "--dataset=shapes",
    "--examples=24",
    "--geometry_examples=8",
    "--clean_examples=50",
    "--batch_size=10",
    "--attack=pgd:norm=2,steps=3",
    "--seed=5",
)
FLAGFILES = Path(trainers.__file__).parent / "flags"


def call(*arguments):
    """`trainers.evaluate` in this process, from its flags to its end."""
    out, err = io.StringIO(), io.StringIO()
    code, argv = 0, sys.argv
    sys.argv = ["evaluate", *map(str, arguments)]
    with (
        defined_flags(evaluate.define_flags),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            program.run(evaluate.main, lambda: cli_flags.grouped_help(evaluate.__doc__))
        except SystemExit as stop:
            code = stop.code
        finally:
            sys.argv = argv
    return Ended(code, out.getvalue(), err.getvalue())


def parse(*arguments):
    """The settings of an evaluation, and its suites."""
    with defined_flags(evaluate.define_flags) as flags:
        given = expand_flagfiles(list(map(str, arguments)))
        assert flags(["evaluate", *given]) == ["evaluate"]
        run = cli_flags.read(EvaluateConfig)
        return run, registry.chosen(run)


def refusal(monkeypatch, out, *arguments):
    """The sentence with which an evaluation is refused, before data is loaded."""

    def load(*_):
        raise AssertionError("data would be loaded, perhaps downloaded, by now")

    monkeypatch.setattr(samples, "load", load)
    ended = call(*arguments, f"--out={out}")
    assert ended.out == "" and not out.exists()
    return ended.error


def mlp(seed, shape=(32, 32, 3), classes=10, variant="standard"):
    """A perceptron of one hidden layer."""
    set_seeds(seed)
    return models.MLP(shape, classes, variant, hidden=(16,))


def records_of(folder):
    """The records in the folder of an evaluation."""
    return read_evaluation(folder).records


def columns_of(folder):
    """`columns[model, split]`: the columns of per_example.csv, floats or NaN."""
    with open(Path(folder) / "per_example.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {}
    for key in {(row["model"], row["split"]) for row in rows}:
        mine = [row for row in rows if (row["model"], row["split"]) == key]
        columns[key] = {
            title: np.array([float(row[title] or "nan") for row in mine])
            for title in mine[0]
            if title not in ("model", "split")
        }
    return columns
