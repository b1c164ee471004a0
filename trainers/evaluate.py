r"""Measures one or several classifiers side by side, as the tables of a paper.

    tfrobust evaluate --model=runs/standard --dataset=cifar10
    tfrobust evaluate --model=runs/standard --model=runs/robust --dataset=cifar10 \
        --norm=2 --radius=0.5 --attack=ddn:steps=200 --strict
    tfrobust evaluate --model=runs/standard --model=runs/lcnn \
        --dataset=cifar10 --flagfile=evaluate_lcnn
    tfrobust evaluate --model=runs/c4 --model=runs/c4_adversarial \
        --dataset=mnist --flagfile=evaluate_smooth
    tfrobust evaluate --model=runs/standard --model=runs/pag \
        --dataset=cifar10 --suite=pag,dissect

By itself: how accurate each is, clean and under AutoAttack, and whether that can be
trusted; --suite has the tables of papers.

Prints the tables and writes to --out: evaluation.html, one page with all tables and
figures inside; evaluation.md with its figures beside it; evaluation.csv, a number and
its standard error a line; evaluation.json, all of it with settings and versions;
per_example.csv, the same for each image; and evaluation.flags, which repeats it. The
same command goes on with an evaluation that was killed. With --distribute=mirrored all
GPUs of the machine share the work. Exit codes: 0, 2 if it cannot be done, 3 with
--strict if it was done and a model's numbers are not trustworthy.
"""

from __future__ import annotations

import sys

from absl import logging

from tfrobust.cli import flags, program
from tfrobust.cli.program import UsageError
from tfrobust.cli.quiet import start_tensorflow
from tfrobust.cli.run_folder import EVALUATION, check_writable
from trainers.suites import suite as registry
from trainers.suites.options import EvaluateConfig, config_from_flags
from trainers.suites.partial import Partial


def main() -> None:
    """Checks everything first, then measures, prints and writes."""
    run = config_from_flags()
    suites = registry.chosen(run)
    partial = Partial(run.folder, registry.flag_lines(run, suites))
    _check_out(partial, run.overwrite)
    # What can be refused without TensorFlow has been: it takes seconds to import.
    start_tensorflow()
    from trainers.suites import devices

    strategy = devices.prepare(run)
    program.import_modules(run.imports)
    from trainers.suites import evaluation

    evaluation.evaluate(run, suites, strategy)


def _check_out(partial: Partial, overwrite: bool) -> None:
    """Raises `UsageError` if the results may not be written there."""
    out = partial.out
    check_writable("out", out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    finished = (out / EVALUATION).exists()
    if partial.is_of_these_flags() and (overwrite or not finished):
        return  # It goes on with what a killed evaluation has left.
    if partial.exists() and not finished and not overwrite:
        before, now = partial.differences()
        raise UsageError(
            f"--out={out} holds a part of an evaluation with other flags "
            f"({' '.join(before) or 'fewer'}); give those again to go on, choose "
            "another folder, or replace it with --overwrite. Received: "
            f"{' '.join(now) or 'fewer'}"
        )
    if not overwrite:
        raise UsageError(
            f"--out={out} already holds files; choose another folder, or replace an "
            "evaluation with --overwrite."
        )
    if not finished and not partial.exists():
        raise UsageError(
            f"--out={out} holds files but no {EVALUATION}, so --overwrite will not "
            "touch it; choose another folder."
        )


def define_flags() -> None:
    """Defines the flags of every evaluation and of every suite."""
    flags.define(EvaluateConfig)
    for suite in registry.all_suites().values():
        flags.define(suite.settings)


def start() -> None:
    """Runs the program with the command line's flags."""
    # Those of the papers first: a suite of one's own that takes a name of theirs is
    # refused where it is imported.
    registry.all_suites()
    program.import_before_flags(sys.argv[1:])
    try:
        define_flags()
    except ValueError as error:
        program.fail(f"--import: {error}")
    # TensorFlow would tell of every SavedModel's fingerprint.
    logging.set_stderrthreshold(logging.ERROR)
    program.run(main, lambda: flags.grouped_help(__doc__))


if __name__ == "__main__":
    start()
