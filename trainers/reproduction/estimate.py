"""How long jobs take: measured steps times how many there are."""

from __future__ import annotations

import csv
import pathlib

from tfrobust.cli.run_folder import RunFolder
from trainers.reproduction.plan import TRAIN, Job
from trainers.reproduction.states import State, look
from trainers.reproduction.steps import Cost

# Seconds until a program has imported TensorFlow and read its data.
_IMPORT = 15.0

# Gradients of one attacked image in a suite. In the suite standard as many as would
# take the CPU time that 60 images took, of `cifar10_standard` and of
# `cifar10_adversarial_linf`; in the others they are counted: steps of PGD at each
# radius, and forward passes as a third of a gradient each.
_AUTOATTACK = {False: 250.0, True: 2500.0}
_GRADIENTS = {"lcnn": 90.0, "pag": 60.0, "dissect": 100.0, "smooth": 4000.0}
# Directions of an image that is moved: ten classes, two radii, fifty steps.
_MOVED = 10 * 2 * 50
# Of one image whose geometry is measured: ten iterations of two gradients each.
_GEOMETRY = 25.0


def seconds(job: Job, cost: Cost, out: pathlib.Path) -> float:
    """About how long a job still takes; 0 if it is done.

    Args:
        job: The job.
        cost: Of the training of its network.
        out: The folder of the reproduction, where a part of it may be done.
    """
    state = look(job, out).state
    if state is State.DONE:
        return 0.0
    if job.kind == TRAIN:
        done = epochs_done(out / job.folder) if state is State.BEGUN else 0
        return training_seconds(cost, done)
    return evaluation_seconds(job, cost)


def training_seconds(cost: Cost, done: int = 0) -> float:
    """Seconds of a training from an epoch on.

    Args:
        cost: What it costs here.
        done: How many epochs are done.

    Example:
        >>> cost = Cost(start=5.0, step=0.5, forward=0.001, gradient=0.003, steps=100,
        ...             tested=10000, watched=0, epochs=3)
        >>> training_seconds(cost, done=1)
        140.0
    """
    epoch = (
        cost.steps * cost.step
        + cost.tested * cost.forward
        + cost.watched * cost.gradient
    )
    return _IMPORT + cost.start + (cost.epochs - done) * epoch


def evaluation_seconds(job: Job, cost: Cost) -> float:
    """Seconds of an evaluation: of each network so many gradients.

    AutoAttack on a robust network takes ten times as long as on another: it goes on as
    long as an image withstands it.

    Args:
        job: The evaluation.
        cost: Of the training of its first network.
    """
    examples = _given(job, "examples")
    looked_at = _given(job, "geometry_examples")
    counts = {"standard": _AUTOATTACK[job.training.robust], **_GRADIENTS}
    count = sum(counts[suite] for suite in job.suites) * examples
    count += _GEOMETRY * looked_at * len(job.suites)
    if "pag" in job.suites:
        count += _MOVED * _given(job, "pag_moved")
    each = count * cost.gradient + cost.tested * cost.forward
    return _IMPORT + len(job.needs) * each


def _given(job: Job, flag: str) -> int:
    """The number that an evaluation was given; 0 without."""
    lines = [line for line in job.lines if line.startswith(f"--{flag}=")]
    return int(lines[0].partition("=")[2]) if lines else 0


def epochs_done(folder: pathlib.Path) -> int:
    """How many epochs a run has finished, by its table."""
    metrics = RunFolder(folder).metrics
    if not metrics.is_file():
        return 0
    with metrics.open(newline="") as file:
        return sum(1 for _ in csv.DictReader(file))


def words(seconds: float) -> str:
    """A duration as people say it.

    Example:
        >>> words(20), words(150), words(5400), words(200_000)
        ('under a minute', '3 min', '1 h 30 min', '2 d 7 h')
    """
    minutes = int(seconds / 60 + 0.5)
    if not minutes:
        return "under a minute"
    hours, rest = divmod(minutes, 60)
    if hours >= 24:
        days, hours = divmod(hours, 24)
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{minutes} min"
