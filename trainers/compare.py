r"""Puts classifiers, or finished evaluations, side by side.

    tfrobust compare runs/standard runs/lcnn --out=runs/comparison
    tfrobust compare runs/evaluation-a runs/evaluation-b
    tfrobust compare runs/evaluation --out=runs/tradeoff \
        --curve=LCNN:cifar10_lcnn=1e-3,LCNN-3e-3=3e-3 --curve=standard:cifar10_standard=

Classifiers: each is the folder of a run, a .keras file, a SavedModel, pretrained:NAME
or robustbench:FILE:ARCHITECTURE, and the first is the one that times are compared to.
Accuracy is measured anew, on the whole test set of --dataset or else of the data that
each was trained on; beta and gamma are the network's own; everything else comes from a
run's summary.json, which tells of its model.keras alone, and stays empty elsewhere.

Evaluations: each is the folder of one, or its evaluation.json. Every number that two
models have in common stands in one line, a column a model. With --curve, accuracy
against curvature as well, one curve a method, written METHOD:MODEL=LABEL,MODEL=LABEL.

Prints a Markdown table and writes it to --out as comparison.md and comparison.csv with
tradeoff.png (accuracy against mean beta, or against curvature).
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence

from tfrobust.cli import flags, program
from tfrobust.cli.flags import Need, Settings, boolean, grouped_help, several, string
from tfrobust.cli.program import UsageError
from tfrobust.cli.quiet import start_tensorflow
from tfrobust.cli.run_folder import EVALUATION, check_writable

_WRITTEN = ("comparison.md", "comparison.csv", "tradeoff.png")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Data(Settings, title="Data"):
    """What to measure on."""

    dataset: str = string("", "What to measure on. Empty: what each was trained on.")
    data_dir: str = string(
        "",
        "Folder that holds prepared TFDS folders. Empty: TFDS's own place; downloads.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Models(Settings, title="Models"):
    """What the models need."""

    imports: tuple[str, ...] = several(
        "Module to import first, which registers Keras classes that a model has. Once "
        "for each.",
        flag="import",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareConfig(_Data, _Models):
    """Everything a comparison depends on; a field is a flag."""

    curve: tuple[str, ...] = several(
        "Of evaluations: a curve of accuracy against curvature, "
        "METHOD:MODEL=LABEL,MODEL=LABEL. Once for each.",
        needs=Need("an --out", lambda v: v["out"]),
    )
    out: str = string("", "Folder to write to. Empty: print alone.")
    overwrite: bool = boolean(
        False,
        "Replace the results of an earlier comparison in the folder.",
        needs=Need("an --out", lambda v: v["out"]),
    )


def main(paths: Sequence[str]) -> None:
    """Checks everything first, then compares, prints and writes."""
    if not paths:
        raise UsageError("Name at least one classifier to compare, as in runs/lcnn.")
    config = flags.read(CompareConfig)
    out = pathlib.Path(config.out).expanduser() if config.out else None
    if out is not None:
        _check_out(out, config.overwrite)
    evaluated = [_is_evaluation(path) for path in paths]
    if any(evaluated) and not all(evaluated):
        raise UsageError(
            f"{paths[evaluated.index(True)]} is an evaluation; compare evaluations "
            "with each other, or classifiers."
        )
    if config.curve and not all(evaluated):
        raise UsageError("--curve needs evaluations, not classifiers.")
    # What can be refused without TensorFlow has been: it takes seconds to import.
    start_tensorflow()
    program.import_modules(config.imports)
    from trainers import comparison

    try:
        if all(evaluated):
            comparison.compare_evaluations(paths, out, config.curve)
        else:
            comparison.compare(paths, out, config.dataset, config.data_dir)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _is_evaluation(path: str) -> bool:
    """Whether it is the folder of an evaluation, or the file itself."""
    place = pathlib.Path(path).expanduser()
    return place.name == EVALUATION or (
        (place / EVALUATION).is_file() and not (place / "model.keras").is_file()
    )


def _check_out(out: pathlib.Path, overwrite: bool) -> None:
    """Raises `UsageError` if the results may not be written there."""
    check_writable("out", out)
    there = [name for name in _WRITTEN if os.path.lexists(out / name)]
    if there and not overwrite:
        raise UsageError(
            f"--out={out} already holds {', '.join(there)}; choose another folder, or "
            "replace them with --overwrite."
        )


def start() -> None:
    """Runs the program with the command line's flags."""
    flags.define(CompareConfig)
    program.run(main, lambda: grouped_help(__doc__), takes_words=True)


if __name__ == "__main__":
    start()
