"""A reproduction that takes seconds: `python -m tests.trainers.reproduction.tiny OUT`.

The LCNN paper's first training and the first of its tables, by the program's own parts,
on the shapes that come with the package. No flag leads here.
"""

import dataclasses
import pathlib
import sys

from tfrobust.cli import program
from trainers.reproduction import run
from trainers.reproduction.budget import Budget
from trainers.reproduction.children import Stopped
from trainers.reproduction.lcnn import LCNN
from trainers.reproduction.papers import Evaluation
from trainers.reproduction.plan import Where

TINY = Budget(
    name="tiny",
    about="a network that is too small for anything",
    scaled=True,
    train=(
        "--model=vgg11",
        "--width=2",
        "--epochs=4",
        "--train_examples=300",
        "--eval_examples=50",
        "--batch_size=20",
        "--learning_rate=0.05",
    ),
    examples=10,
    geometry_examples=10,
)
PAPER = dataclasses.replace(
    LCNN,
    trainings=LCNN.trainings[:1],
    evaluations=[
        Evaluation(
            flags=(
                "--suite=lcnn",
                "--geometry_examples=10",
                "--clean_examples=50",
                "--power_iterations=2",
                "--attack=pgd:norm=2,steps=2",
            ),
            suites=("lcnn",),
        )
    ],
)


def main(out: pathlib.Path) -> None:
    """Reproduces it.

    Args:
        out: The folder for everything.
    """
    try:
        run.reproduce([PAPER], TINY, Where("shapes"), out)
    except Stopped as signal:
        sys.exit(128 + signal.number)


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv.pop(1))
    program.run(lambda: main(folder), lambda: __doc__)
