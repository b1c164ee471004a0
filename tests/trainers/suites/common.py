"""What the tests of every suite share: the program in this process, and its files."""

import contextlib
import csv
import io
import sys
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

import trainers
from tests.trainers.programs import defined_flags
from tfrobust import models
from tfrobust.cli import flags as cli_flags
from tfrobust.cli import program
from tfrobust.cli.flagfiles import expand_flagfiles
from tfrobust.cli.records import read_evaluation
from trainers import evaluate
from trainers.suites import suite as registry
from trainers.suites.options import EvaluateConfig

FLAGFILES = Path(trainers.__file__).parent / "flags"


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def error(self):
        """The one sentence that a refused program may leave."""
        assert self.code == 2 and "Traceback" not in self.err, self
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and self.err.splitlines()[-1] == lines[0], self.err
        return lines[0].removeprefix("error: ")


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


def mlp(seed, shape=(32, 32, 3), classes=10, variant="standard"):
    """A perceptron of one hidden layer."""
    keras.utils.set_random_seed(seed)
    return models.MLP(shape, classes, variant, hidden=(16,))


def records_of(folder):
    """The records in the folder of an evaluation."""
    return read_evaluation(folder).records


def columns_of(folder):
    """`columns[model, split]`: the columns of per_example.csv, floats or NaN."""
    with open(Path(folder) / "per_example.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for key in {(row["model"], row["split"]) for row in rows}:
        mine = [row for row in rows if (row["model"], row["split"]) == key]
        found[key] = {
            title: np.array([float(row[title] or "nan") for row in mine])
            for title in mine[0]
            if title not in ("model", "split")
        }
    return found
