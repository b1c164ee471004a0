"""Claim: a training step waits for its input less than 2 % of its time.

    python -m benchmarks.input_pipeline --data_dir=... --width=16 --batch_size=128

The input is that of `trainers.cifar`: `data.train_pipeline` over all 50,000 images of
CIFAR-10, cropped and mirrored at random, with the determinism that is the trainer's
default. Three runs take turns: the step alone, on one batch that is always the same;
the step with its input, which asks for a new batch before each step; and the input
alone, of more batches. The time inside of `next` is what the step waits.

The input is made in threads of the same process, so where no core is free it costs the
step its CPU time, waiting or not. The CPU time of the input alone over that of the step
alone is the figure that a busy machine does not change. `--dataset=random` needs no
data and moves as many bytes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from benchmarks.reports import Parser, Report, need_data, start
from benchmarks.steps import training_step
from benchmarks.turns import Run, rows
from tfrobust import data, models
from tfrobust.training import enable_determinism

RANDOM = "random"
# Of the step's time.
_BOUND = 0.02
_COLUMNS = {
    f"{clock}_{what}": ".4f"
    for clock in ("wall", "cpu")
    for what in ("s", "ratio", "ratio_error")
}
# After a run the input still fills its buffer: CPU time of that run. It is over when
# next to none was taken for so many seconds.
_QUIET_SECONDS, _QUIET_CPU = 0.1, 1e-3
# What little is missed nevertheless counts less among more batches, which cost little.
_MORE = 10
_ENDLESS = 10**6
_QUICK = {"width": 4, "batch_size": 16, "batches": 4, "rounds": 2}

ALONE, TOGETHER, INPUT, WAIT = (
    "step alone",
    "step with its input",
    "input alone",
    "waiting",
)


def main(argv: Sequence[str] | None = None) -> Report:
    """Times steps with and without input, and input without steps."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--dataset", default="cifar10_jpeg", help=f"or {RANDOM}")
    parser.add_data_dir()
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=20, help="of each run")
    parser.add_argument("--rounds", type=int, default=8)
    arguments, report = parser.parse(argv)
    dataset = _dataset(arguments)
    keras.utils.set_random_seed(0)
    enable_determinism()
    network = models.ResNet18(
        dataset.image_shape, dataset.classes, "standard", arguments.width
    )
    step = training_step(network, batch_size=arguments.batch_size)
    seconds = _times(step, dataset, arguments)
    add = report.begin(
        f"ResNet-18, width {arguments.width}, batch {arguments.batch_size}, "
        f"{len(dataset):,} images of {dataset.name}, crop_flip, {arguments.rounds} "
        f"rounds of {arguments.batches} batches; seconds a batch",
        _COLUMNS,
        claimed={INPUT: _BOUND},
    )
    *all_but_wait, wait = rows([ALONE, TOGETHER, INPUT, WAIT], seconds)
    for row in all_but_wait:
        add(row)
    report.table(
        "What the steps with their input waited, over a step alone",
        [wait],
        {"wall_s": ".5f", "wall_ratio": ".5f", "wall_ratio_error": ".5f"},
        claimed={WAIT: _BOUND},
        measure="wall_ratio",
    )
    return report


def _dataset(arguments: argparse.Namespace) -> data.Dataset:
    if arguments.dataset != RANDOM:
        need_data(arguments.dataset, arguments.data_dir)
        return data.load(arguments.dataset, "train", arguments.data_dir)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (50_000, 32, 32, 3), np.uint8)
    labels = random.integers(0, 10, len(images)).astype(np.int32)
    return data.Dataset(RANDOM, images, labels, tuple("0123456789"))


def _times(
    step: Run, dataset: data.Dataset, arguments: argparse.Namespace
) -> np.ndarray:
    """Wall and CPU seconds a batch `[4, rounds, 2]`; waiting has no CPU time."""
    count = arguments.batches
    beside, alone = (_batches(dataset, arguments.batch_size) for _ in range(2))
    waited: list[float] = []

    def together() -> None:
        waits = 0.0
        for _ in range(count):
            began = time.perf_counter()
            next(beside)
            waits += time.perf_counter() - began
            step()
        waited.append(waits)

    runs: list[Run] = [
        lambda: [step() for _ in range(count)],
        together,
        lambda: [next(alone) for _ in range(_MORE * count)],
    ]
    for run in runs:
        _spent(run)  # traces the graphs
    waited.clear()
    seconds = [[_spent(run) for run in runs] for _ in range(arguments.rounds)]
    waits = [[[wait, np.nan]] for wait in waited]
    every = np.concatenate([seconds, waits], axis=1)
    batches = count * np.array([1, 1, _MORE, 1])
    return np.swapaxes(every, 0, 1) / batches[:, None, None]


def _batches(dataset: data.Dataset, batch_size: int) -> Iterator[Any]:
    """What `trainers.cifar` trains on, without an end."""
    return iter(
        data.train_pipeline(
            dataset,
            batch_size=batch_size,
            seed=0,
            epochs=_ENDLESS,
            augment="crop_flip",
        )
    )


def _spent(run: Run) -> tuple[float, float]:
    """Wall-clock seconds of a run, and CPU seconds with what it leaves running."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    wall = time.perf_counter() - wall
    last = -np.inf
    while time.process_time() - last > _QUIET_CPU:
        last = time.process_time()
        time.sleep(_QUIET_SECONDS)
    return wall, time.process_time() - cpu


if __name__ == "__main__":
    start(main)
