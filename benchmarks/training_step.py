"""Claim: an LCNN training step costs at most 1.05 times a standard one on a CPU.

    python -m benchmarks.training_step --width=64 --batch_size=128 --rounds=8

The settings take turns, one step each a round, so that a busy neighbour slows all of
them; what is compared is each round's ratio to the standard step of the same round. CPU
seconds (user and system time of the process) are printed beside wall-clock seconds,
since they depend less on what else the machine is doing. The paper reports, on a GPU,
1.6 for LCNN, 2.7 for GradReg, 3.5 for LCNN+GradReg and 5 for CURE and for adversarial
training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from tfrobust import attacks, models, penalties
from tfrobust.training import RobustModel

Setting = tuple[str, tuple[penalties.Penalty, ...], attacks.Attack | None]

_L2 = attacks.PGD(norm=2, eps=0.1, steps=3)
_LINF = attacks.PGD(norm="inf", eps=8 / 255, steps=10, step_size=2 / 255)

# Variant, penalties, adversary.
_SETTINGS: dict[str, Setting] = {
    "standard": ("standard", (), None),
    "LCNN": ("lcnn", (penalties.Curvature(),), None),
    "GradReg": ("standard", (penalties.GradientNorm(),), None),
    "LCNN+GradReg": ("lcnn", (penalties.Curvature(), penalties.GradientNorm()), None),
    "softplus": ("softplus", (), None),
    "CURE": ("standard", (penalties.Cure(),), None),
    "adversarial L2, 3": ("standard", (), _L2),
    "adversarial Linf, 10": ("standard", (), _LINF),
    "TRADES Linf, 10": ("standard", (penalties.Trades(),), None),
}

Step = Callable[[], None]


def main() -> None:
    """Times every setting in turn and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--settings", nargs="+", choices=_SETTINGS, default=_SETTINGS)
    arguments = parser.parse_args()
    steps = {
        name: _make_step(_SETTINGS[name], arguments.width, arguments.batch_size)
        for name in arguments.settings
    }
    seconds = {name: np.zeros([arguments.rounds, 2]) for name in steps}
    for turn in range(arguments.rounds):
        for name, step in steps.items():
            seconds[name][turn] = _time(step)
    print(
        f"ResNet-18, width {arguments.width}, batch {arguments.batch_size}, 32x32x3, "
        f"TensorFlow {tf.__version__}, {arguments.rounds} rounds"
    )
    print(f"{'setting':<22}{'wall s':>8}{'ratio':>7}{'CPU s':>8}{'ratio':>7}{'+-':>6}")
    base = seconds[next(iter(steps))]
    for name, times in seconds.items():
        wall, cpu = np.median(times, axis=0)
        ratios = times / base
        wall_ratio, cpu_ratio = np.median(ratios, axis=0)
        spread = np.std(ratios[:, 1]) / np.sqrt(len(ratios))
        print(
            f"{name:<22}{wall:>8.3f}{wall_ratio:>7.3f}{cpu:>8.3f}{cpu_ratio:>7.3f}"
            f"{spread:>6.3f}"
        )


def _make_step(setting: Setting, width: int, batch_size: int) -> Step:
    variant, terms, adversary = setting
    keras.utils.set_random_seed(0)
    model = RobustModel(models.ResNet18((32, 32, 3), 10, variant, width))
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, [*terms, penalties.WeightDecay()], adversary)
    iterator = _batches(batch_size)
    train = model.make_train_function()
    train(iterator)  # traces the graph
    train(iterator)

    def step() -> None:
        train(iterator)["loss"].numpy()

    return step


def _batches(batch_size: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    random = np.random.default_rng(0)
    images = random.random([batch_size, 32, 32, 3], dtype=np.float32)
    labels = random.integers(0, 10, batch_size).astype(np.int32)
    return iter(tf.data.Dataset.from_tensors((images, labels)).repeat())


def _time(step: Step) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
