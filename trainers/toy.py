r"""Experiments in the plane, small enough to be seen whole.

    tfrobust toy --task=two_moons --out=runs/two_moons
    tfrobust toy --task=pag_lines --out=runs/pag_lines
    tfrobust toy --task=softplus --out=runs/softplus

two_moons is Figure 1(a, b) of the LCNN paper: a standard perceptron, a low-curvature
one, and both with a penalty on the input-gradient learn the same 200 points. The table
has accuracy and curvature on fresh points.

pag_lines is Figure 3 of the PAG paper: two classes take turns along a line, and a
perceptron learns them with and without gradients that point to the nearest example of
each class. The table has accuracy on fresh points, clean and attacked.

softplus is Figure 1(c) of the LCNN paper: the activation before and after it is
centred, for several beta. It trains nothing; the table has its values at 0 and its
curvature.

Prints the table, mean and standard error over --seeds trainings, and writes it to --out
as TASK.md and TASK.csv with the figure, of the first training, as TASK.png.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable

from tfrobust.cli import program
from tfrobust.cli.flags import grouped_help
from tfrobust.cli.program import UsageError
from tfrobust.cli.quiet import start_tensorflow
from tfrobust.cli.run_folder import check_writable, write_text
from trainers.toys import options as toy_options


def main() -> None:
    """Checks the folder first, then runs the task, prints and writes."""
    config = toy_options.config_from_flags()
    out = pathlib.Path(config.out or f"runs/{config.task}").expanduser()
    files = [out / f"{config.task}.{ending}" for ending in ("md", "csv", "png")]
    _check_out(out, files, config.overwrite)
    # What can be refused without TensorFlow has been: it takes seconds to import.
    start_tensorflow()
    import tensorflow as tf

    from tfrobust import viz
    from trainers.toys import lines as toy_lines
    from trainers.toys import moons as toy_moons
    from trainers.toys import softplus as toy_softplus

    # It warns of functions traced anew: here every network is a new one.
    tf.get_logger().setLevel("ERROR")
    run = {
        "two_moons": toy_moons.run,
        "pag_lines": toy_lines.run,
        "softplus": toy_softplus.run,
    }[config.task]
    outcome = run(config)
    print(f"{outcome.sentence}\n\n{outcome.table.text()}\n\nWrote {files[-1]}")
    out.mkdir(parents=True, exist_ok=True)
    markdown, csv, png = files
    text = [f"# {config.task}", outcome.sentence, outcome.table.markdown()]
    write_text(markdown, "\n\n".join([*text, f"![{config.task}]({png.name})"]) + "\n")
    write_text(csv, outcome.table.csv())
    viz.save(outcome.figure, png)


def _check_out(
    out: pathlib.Path, files: Iterable[pathlib.Path], overwrite: bool
) -> None:
    """Raises `UsageError` if the results may not be written; writes nothing."""
    check_writable("out", out)
    there = [path.name for path in files if os.path.lexists(path)]
    if there and not overwrite:
        raise UsageError(
            f"--out={out} already holds {', '.join(there)}; choose another folder, or "
            "replace them with --overwrite."
        )


def start() -> None:
    """Runs the program with the command line's flags."""
    toy_options.define_flags()
    program.run(main, lambda: grouped_help(__doc__))


if __name__ == "__main__":
    start()
