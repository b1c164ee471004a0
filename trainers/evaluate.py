r"""Measures one or several classifiers side by side, as the tables of a paper.

    tfrobust evaluate --model=runs/standard --model=runs/lcnn \
        --dataset=cifar10 --flagfile=evaluate_lcnn
    tfrobust evaluate --model=runs/c4 --model=runs/c4_adversarial \
        --dataset=mnist --flagfile=evaluate_smooth
    tfrobust evaluate --model=runs/standard --model=runs/pag \
        --dataset=cifar10 --flagfile=evaluate_pag
    tfrobust evaluate --model=runs/standard --model=runs/robust \
        --dataset=cifar10 --flagfile=evaluate_dissect

Prints the tables and writes to --out: evaluation.html, one page with all tables and
figures inside; evaluation.md with its figures beside it; evaluation.csv, a number and
its standard error a line; evaluation.json, all of it with settings and versions;
per_example.csv, the same for each image; and evaluation.flags, which repeats it.
"""

from __future__ import annotations

import pathlib

from absl import logging

from tfrobust.cli import program
from tfrobust.cli.flags import grouped_help
from tfrobust.cli.program import UsageError
from tfrobust.cli.quiet import start_tensorflow
from tfrobust.cli.run_folder import EVALUATION, check_writable
from trainers.suites import options as evaluate_options


def main() -> None:
    """Checks everything first, then measures, prints and writes."""
    config = evaluate_options.config_from_flags()
    out = pathlib.Path(config.out).expanduser()
    _check_out(out, config.overwrite)
    # What can be refused without TensorFlow has been: it takes seconds to import.
    start_tensorflow()
    program.import_modules(config.imports)
    from trainers.suites import evaluation

    evaluation.evaluate(config, out)


def _check_out(out: pathlib.Path, overwrite: bool) -> None:
    """Raises `UsageError` if the results may not be written there."""
    check_writable("out", out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise UsageError(
            f"--out={out} already holds files; choose another folder, or replace an "
            "evaluation with --overwrite."
        )
    if not (out / EVALUATION).exists():
        raise UsageError(
            f"--out={out} holds files but no {EVALUATION}, so --overwrite will not "
            "touch it; choose another folder."
        )


def start() -> None:
    """Runs the program with the command line's flags."""
    evaluate_options.define_flags()
    # TensorFlow would tell of every SavedModel's fingerprint.
    logging.set_stderrthreshold(logging.ERROR)
    program.run(main, lambda: grouped_help(__doc__))


if __name__ == "__main__":
    start()
