r"""Puts classifiers side by side: accuracy on all test images, beta, gamma, time.

    tfrobust compare runs/standard runs/lcnn --out=runs/comparison

Each is the folder of a run, a .keras file, a SavedModel or pretrained:NAME. The first
is the one that times are compared to. Prints a Markdown table and writes it to OUT with
comparison.csv and tradeoff.png (accuracy against mean beta). Accuracy is measured anew,
on the whole test set of --dataset or else of the data that each was trained on; beta
and gamma are the network's own; everything else comes from a run's summary.json, which
tells of its model.keras alone, and stays empty elsewhere.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

from absl import flags

from trainers import options, program
from trainers.program import UsageError
from trainers.quiet import start_tensorflow
from trainers.run_folder import check_writable

FLAGS = flags.FLAGS

_WRITTEN = ("comparison.md", "comparison.csv", "tradeoff.png")


def main(paths: Sequence[str]) -> None:
    """Checks everything first, then compares, prints and writes."""
    if not paths:
        raise UsageError("Name at least one classifier to compare, as in runs/lcnn.")
    if FLAGS.overwrite and not FLAGS.out:
        raise UsageError("--overwrite needs an --out.")
    out = pathlib.Path(FLAGS.out).expanduser() if FLAGS.out else None
    if out is not None:
        _check_out(out)
    # What can be refused without TensorFlow has been: it takes seconds to import.
    start_tensorflow()
    program.import_modules(FLAGS["import"].value or ())
    from trainers import comparison

    try:
        comparison.compare(paths, out, FLAGS.dataset, FLAGS.data_dir)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_out(out: pathlib.Path) -> None:
    """Raises `UsageError` if the results may not be written there."""
    check_writable("out", out)
    there = [name for name in _WRITTEN if os.path.lexists(out / name)]
    if there and not FLAGS.overwrite:
        raise UsageError(
            f"--out={out} already holds {', '.join(there)}; choose another folder, or "
            "replace them with --overwrite."
        )


def define_flags() -> None:
    """Defines the program's flags on absl's `FLAGS`, once."""
    if "dataset" in FLAGS:
        return
    define = options.define
    define("Data", flags.DEFINE_string, "dataset", "", "What to measure on. Empty: what"
           " each was trained on.")  # fmt: skip
    define("Data", flags.DEFINE_string, "data_dir", "", "Folder that holds prepared"
           " TFDS folders. Empty: TFDS's own place; downloads.")  # fmt: skip
    define("Models", flags.DEFINE_multi_string, "import", [], "Module to import first,"
           " which registers Keras classes that a model has. Once for"
           " each.")  # fmt: skip
    define("Run", flags.DEFINE_string, "out", "", "Folder to write to. Empty: print"
           " alone.")  # fmt: skip
    define("Run", flags.DEFINE_boolean, "overwrite", False, "Replace the results of an"
           " earlier comparison in the folder.")  # fmt: skip


def start() -> None:
    """Runs the program with the command line's flags."""
    define_flags()
    program.run(main, lambda: options.grouped_help(__doc__), takes_words=True)


if __name__ == "__main__":
    start()
