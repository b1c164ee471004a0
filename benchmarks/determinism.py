"""Claim: a training step that repeats to the last bit costs a few percent on a CPU.

    python -m benchmarks.determinism --width=16 --batch_size=128 --rounds=10

What `enable_determinism` sets holds for a whole process, so there are two processes,
with and without, which take turns: one step each a round. What is compared is each
round's ratio.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection

import numpy as np

from benchmarks.reports import Parser, Report, start
from benchmarks.turns import rows, spent
from tfrobust.cli.quiet import start_tensorflow

_SETTINGS = ("standard", "LCNN", "LCNN+GradReg")
_QUICK = {"width": 4, "batch_size": 16, "rounds": 2, "settings": ["standard"]}


def main(argv: Sequence[str] | None = None) -> Report:
    """Times every setting with and without, with a table for each."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--settings", nargs="+", choices=_SETTINGS, default=list(_SETTINGS)
    )
    arguments, report = parser.parse(argv)
    for setting in arguments.settings:
        seconds = _time(
            setting, arguments.width, arguments.batch_size, arguments.rounds
        )
        report.table(
            f"{setting}: ResNet-18, width {arguments.width}, batch "
            f"{arguments.batch_size}, 32x32x3, {arguments.rounds} rounds",
            rows(["as it comes", "deterministic"], seconds),
            key=setting,
            claimed={"deterministic": None},
        )
    return report


def _time(setting: str, width: int, batch_size: int, rounds: int) -> np.ndarray:
    """Wall and CPU seconds of a step, `[2, rounds, 2]`: without and with."""
    context = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for deterministic in (False, True):
        here, there = context.Pipe()
        given = (there, deterministic, setting, width, batch_size)
        processes.append(context.Process(target=_serve, args=given, daemon=True))
        processes[-1].start()
        ends.append(here)
    for end in ends:
        end.recv()  # It has traced.
    seconds = [[_ask(end) for end in ends] for _ in range(rounds)]
    for end, process in zip(ends, processes, strict=True):
        end.send(False)
        process.join()
    return np.swapaxes(np.array(seconds), 0, 1)


def _ask(end: Connection) -> tuple[float, float]:
    end.send(True)
    return end.recv()


def _serve(
    end: Connection, deterministic: bool, setting: str, width: int, batch_size: int
) -> None:
    """Takes a step on request, and answers with what it took."""
    start_tensorflow()
    from benchmarks.steps import training_step
    from tfrobust import models, penalties
    from tfrobust.training import enable_determinism

    if deterministic:
        enable_determinism()
    variant = "standard" if setting == "standard" else "lcnn"
    terms = {
        "standard": [],
        "LCNN": [penalties.Curvature()],
        "LCNN+GradReg": [penalties.Curvature(), penalties.GradientNorm()],
    }[setting]
    network = models.ResNet18((32, 32, 3), 10, variant, width)
    step = training_step(network, terms, None, batch_size)
    step()
    step()
    end.send("ready")
    while end.recv():
        end.send(spent(step))


if __name__ == "__main__":
    start(main)
