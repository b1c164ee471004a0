"""Claim: sC&W costs at most 1.3 times C&W, and plain CG or an inverse would cost more.

    python -m benchmarks.smooth_attack --model=c4.keras --data_dir=... --rounds=3

Both attacks make the same number of gradients, `searches * steps`, none ends early, on
the first correctly classified images of MNIST. Beside them sC&W with other solvers of
equal error. Attacks take turns and what is compared is each round's ratio to C&W, so
that a busy neighbour slows all. Wall and CPU time, and the peak of the process's memory
above that before the attack, each in a process of its own with --memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.reports import TIMES, Parser, Report, need_data, start
from benchmarks.turns import alternate, rows
from tfrobust import attacks, data, models
from tfrobust.smoothing import Smoother, iterations_for

_QUICK = {"images": 8, "steps": 10, "rounds": 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Solved(attacks.SmoothCarliniWagner):
    """sC&W with a named solver, of as many steps for each."""

    def smoother(self, images: tf.Tensor) -> Smoother:
        steps = iterations_for(self.alpha, 0.05)
        graph: dict[str, Any] = {"bandwidth": self.bandwidth, "kernel": self.kernel}
        # Zero tolerance: as many steps as Chebyshev's.
        return Smoother(
            images, self.alpha, steps, solver=self.solver, tolerance=0.0, **graph
        )


def main(argv: Sequence[str] | None = None) -> Report:
    """Times the attacks in turn, or measures the memory of one."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument(
        "--model", default="pretrained:mnist_c4", help="an MNIST network"
    )
    parser.add_data_dir()
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--searches", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--attacks", nargs="*", help="some of the rows")
    parser.add_argument("--memory", action="store_true", help="of one row")
    arguments, report = parser.parse(argv)
    every = _attacks(arguments)
    chosen = {name: every[name] for name in arguments.attacks or every}
    need_data("mnist", arguments.data_dir)
    network = models.load(arguments.model).network
    images, labels = _correct(network, arguments)
    if arguments.memory:
        _memory(chosen, network, images, labels, report)
        return report
    runs = [
        lambda attack=attack: attack(network, images, labels)
        for attack in chosen.values()
    ]
    results = [run() for run in runs]
    timed = rows(list(chosen), alternate(runs, arguments.rounds))
    report.table(
        f"{len(images)} images, {arguments.searches} x {arguments.steps} gradients, "
        f"{arguments.rounds} rounds",
        [row | _quality(each) for row, each in zip(timed, results, strict=True)],
        {**TIMES, "success": ".3f", "distortion": ".3f"},
        claimed={"sC&W": 1.3} if next(iter(chosen)) == "C&W" else {},
    )
    return report


def _quality(result: attacks.AttackResult) -> dict[str, float]:
    """Share of the images that are fooled, and their mean L2 distortion."""
    success = result.success.numpy()
    distortion = result.distortion.numpy()[success]
    mean = float(distortion.mean()) if len(distortion) else math.nan
    return {"success": float(success.mean()), "distortion": mean}


def _attacks(arguments: argparse.Namespace) -> dict[str, attacks.Attack]:
    settings: dict[str, Any] = {
        "steps": arguments.steps,
        "search_steps": arguments.searches,
        "initial_const": 15.0,
        "early_abort": False,
    }
    smooth: dict[str, Any] = {**settings, "bandwidth": 1.0}
    return {
        "C&W": attacks.CarliniWagnerL2(learning_rate=0.1, **settings),
        "sC&W": attacks.SmoothCarliniWagner(**smooth),
        "sC&W, Chebyshev": _Solved(solver="chebyshev", **smooth),
        "sC&W, CG": _Solved(solver="cg", **smooth),
        "sC&W, dense inverse": _Solved(solver="dense", **smooth),
    }


def _correct(
    network: keras.Model, arguments: argparse.Namespace
) -> tuple[tf.Tensor, tf.Tensor]:
    test = data.load("mnist", "test", arguments.data_dir).take(2 * arguments.images)
    images = test.images.astype(np.float32) / np.float32(255)
    logits = network.predict(images, verbose=0)
    right = np.flatnonzero(logits.argmax(axis=1) == test.labels)[: arguments.images]
    return tf.constant(images[right]), tf.constant(test.labels[right], tf.int32)


def _memory(
    chosen: dict[str, attacks.Attack],
    network: keras.Model,
    images: tf.Tensor,
    labels: tf.Tensor,
    report: Report,
) -> None:
    if len(chosen) != 1:
        raise SystemExit("--memory wants one row in --attacks: a peak never falls.")
    attack = next(iter(chosen.values()))
    # One gradient of the network was measured before: the rest is the attack's.
    attacks.FGSM(eps=0.1)(network, images, labels)
    before = _peak()
    attack(network, images, labels)
    row = {"name": next(iter(chosen)), "mib": _peak() - before}
    report.table("above one gradient", [row], {"mib": ".0f"}, measure="mib")


def _peak() -> float:
    """The most memory that the process has had, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return float(line.split()[1]) / 2**10
    return math.nan


if __name__ == "__main__":
    start(main)
