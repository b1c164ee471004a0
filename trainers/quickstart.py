"""The whole road in a few minutes: train, attack, export, query. No network, no GPU.

    tfrobust quickstart

Trains a small low-curvature network on the built-in shapes, measures its accuracy clean
and under PGD, exports it, queries the export from a process that knows only TensorFlow,
and prints a table and the path of a figure. Everything goes to runs/quickstart.
"""

from __future__ import annotations

from tfrobust.cli import program
from tfrobust.cli.quiet import start_tensorflow


def main() -> None:
    """Runs every step and prints what it found."""
    start_tensorflow()
    from trainers import quickstart_steps

    quickstart_steps.take()


def start() -> None:
    """Runs the program."""
    program.run(main, lambda: __doc__.strip())


if __name__ == "__main__":
    start()
