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
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.turns import alternate
from tfrobust import attacks, data
from tfrobust.smoothing import Smoother, iterations_for


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


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a .keras file")
    parser.add_argument("--data_dir", required=True, help="holds mnist")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--searches", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--attacks", nargs="*", help="some of the rows")
    parser.add_argument("--memory", action="store_true", help="of one row")
    arguments = parser.parse_args()
    every = _attacks(arguments)
    chosen = {name: every[name] for name in arguments.attacks or every}
    network = keras.saving.load_model(arguments.model)
    images, labels = _correct(network, arguments)
    if arguments.memory:
        _memory(chosen, network, images, labels)
        return
    runs = [
        lambda attack=attack: attack(network, images, labels)
        for attack in chosen.values()
    ]
    results = [run() for run in runs]
    seconds = np.swapaxes(alternate(runs, arguments.rounds), 0, 1)
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    print(
        f"{len(images)} images, {arguments.searches} x {arguments.steps} gradients, "
        f"{arguments.rounds} rounds, TensorFlow {tf.__version__}"
    )
    print(
        f"{'':<22}{'wall s':>10}{'wall ratio':>12}{'CPU ratio':>12}{'P_suc':>8}{'D':>8}"
    )
    for name, times, ratio, result in zip(
        chosen, np.median(seconds, axis=0), ratios, results, strict=True
    ):
        success = result.success.numpy()
        print(
            f"{name:<22}{times[0]:>10.2f}{ratio[0]:>12.3f}{ratio[1]:>12.3f}"
            f"{success.mean():>8.3f}{result.distortion.numpy()[success].mean():>8.3f}"
        )


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
) -> None:
    if len(chosen) != 1:
        raise SystemExit("--memory wants one row in --attacks: a peak never falls.")
    attack = next(iter(chosen.values()))
    # One gradient of the network was measured before: the rest is the attack's.
    attacks.FGSM(eps=0.1)(network, images, labels)
    before = _peak()
    attack(network, images, labels)
    print(f"{next(iter(chosen))}: {_peak() - before:.0f} MiB above one gradient")


def _peak() -> float:
    """The most memory that the process has had, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return float(line.split()[1]) / 2**10
    return math.nan


if __name__ == "__main__":
    main()
