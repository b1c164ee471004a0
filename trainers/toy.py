r"""Experiments in the plane, small enough to be seen whole.

    python -m trainers.toy --task=two_moons --out=runs/two_moons

two_moons is Figure 1 of the LCNN paper: a standard perceptron, a low-curvature one, and
both with a penalty on the input-gradient learn the same 200 points. Prints a table of
accuracy and curvature on fresh points, mean and standard error over --seeds trainings,
and writes it to --out as TASK.md and TASK.csv with the decision boundaries of the first
training as TASK.png.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from matplotlib.figure import Figure

from tfrobust import data, geometry, models, penalties, viz
from tfrobust.training import RobustModel
from trainers import options, program
from trainers.options import define
from trainers.program import UsageError
from trainers.run_folder import check_writable, write_text
from trainers.tables import Column, Table, number, percent

FLAGS = flags.FLAGS

_HIDDEN = (64, 64)
# A 1-Lipschitz network of the unit square cannot be confident on both sides of a gap;
# its input is stretched, for all networks alike, so that it can.
_STRETCH = 100.0
_LEARNING_RATE = 0.01
_BATCHES = 4  # In an epoch.
_TEST_EXAMPLES = 2000
_GRID = 201

_CURVATURE = penalties.Curvature(beta=1e-2, gamma=0.0)
_GRADIENT_NORM = penalties.GradientNorm(2e-3)
# name: (variant, penalties)
_METHODS: dict[str, tuple[str, tuple[penalties.Penalty, ...]]] = {
    "standard": ("standard", ()),
    "GradReg": ("standard", (_GRADIENT_NORM,)),
    "LCNN": ("lcnn", (_CURVATURE,)),
    "LCNN + GradReg": ("lcnn", (_CURVATURE, _GRADIENT_NORM)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Everything an experiment depends on; one field for each flag."""

    task: str
    seeds: int
    seed: int
    examples: int
    noise: float
    steps: int
    out: str
    overwrite: bool


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a task found: a sentence on what was done, the numbers, the figure."""

    sentence: str
    table: Table
    figure: Figure


def define_flags() -> None:
    """Defines every flag of `ToyConfig` on absl's `FLAGS`, once."""
    if "task" in FLAGS:
        return
    define("Task", flags.DEFINE_enum, "task", "two_moons", "What to do.",
            enum_values=list(_TASKS))  # fmt: skip
    define("Task", flags.DEFINE_integer, "seeds", 3, "Trainings of each network, each"
            " from weights and on points of its own.", lower_bound=1)  # fmt: skip
    define("Task", flags.DEFINE_integer, "seed", 0, "Seed of the first training; the"
            " next ones count up.", lower_bound=0, upper_bound=2**31 - 1)  # fmt: skip
    define("Task", flags.DEFINE_integer, "examples", 200, "Points to train on.",
            lower_bound=_BATCHES)  # fmt: skip
    define("Task", flags.DEFINE_float, "noise", 0.2, "Standard deviation of the"
            " points around their moon of radius 1.", lower_bound=0.0,
            upper_bound=1.0)  # fmt: skip
    define("Task", flags.DEFINE_integer, "steps", 1000, "Steps of Adam, its rate"
            " falling from 0.01 to 0 along a cosine.",
            lower_bound=1)  # fmt: skip
    define("Run", flags.DEFINE_string, "out", "", "Folder for the results. Empty:"
            " runs/TASK.")  # fmt: skip
    define("Run", flags.DEFINE_boolean, "overwrite", False, "Replace the results of"
            " an earlier run in the folder.")  # fmt: skip


def main() -> None:
    """Checks the folder first, then runs the task, prints and writes."""
    names = [field.name for field in dataclasses.fields(ToyConfig)]
    values: dict[str, Any] = {name: FLAGS[name].value for name in names}
    config = ToyConfig(**values)
    if not 0 <= config.noise <= 1:  # NaN is neither below nor above a flag's bounds.
        raise UsageError(f"--noise={config.noise} must be a number from 0 to 1.")
    out = pathlib.Path(config.out or f"runs/{config.task}").expanduser()
    files = [out / f"{config.task}.{ending}" for ending in ("md", "csv", "png")]
    _check_out(out, files, config.overwrite)
    outcome = _TASKS[config.task](config)
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


def two_moons(config: ToyConfig) -> Outcome:
    """Figure 1 of the LCNN paper: how smooth the decision boundaries are."""
    measured: dict[str, list[tuple[float, ...]]] = {name: [] for name in _METHODS}
    panels = {}
    seeds = range(config.seed, config.seed + config.seeds)
    for seed in seeds:
        train = data.make_two_moons(config.examples, config.noise, 2 * seed)
        test = data.make_two_moons(_TEST_EXAMPLES, config.noise, 2 * seed + 1)
        for name in _METHODS:
            network = _trained(name, train, seed, config.steps)
            measured[name].append(_measure(network, train, test))
            if seed == config.seed:
                panels[name] = _probabilities(network)
    shown = data.make_two_moons(config.examples, config.noise, 2 * config.seed)
    columns = [Column("network", numeric=False)]
    columns += [Column(f"{part} accuracy", percent) for part in ("train", "test")]
    columns += [Column(part, number) for part in ("gradient norm", "curvature")]
    rows = [[name, *_over_seeds(values)] for name, values in measured.items()]
    sentence = (
        f"Trained on {config.examples} points at noise {config.noise:g} for "
        f"{config.steps} steps, measured on {_TEST_EXAMPLES} others; {_seeds(config)}."
    )
    figure = viz.decision_boundaries(
        panels, *shown, class_names=("upper moon", "lower moon")
    )
    return Outcome(sentence, Table(columns, rows), figure)


def _trained(
    name: str, train: tuple[np.ndarray, np.ndarray], seed: int, steps: int
) -> keras.Model:
    """A network of one of the methods, trained on all points."""
    variant, terms = _METHODS[name]
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((2,))
    stretched = keras.layers.Rescaling(_STRETCH, -_STRETCH / 2)(inputs)
    body = models.MLP((2,), classes=2, variant=variant, hidden=_HIDDEN)
    network = keras.Model(inputs, body(stretched))
    model = RobustModel(network)
    # All steps in one call: they are far shorter than what Keras does between two.
    rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
    model.compile(
        keras.optimizers.Adam(rate),
        penalties=terms,
        steps_per_execution=steps,
    )
    examples = len(train[1])
    batches = (
        tf.data.Dataset.from_tensor_slices(train)
        .shuffle(examples, seed=seed)
        .repeat()
        .batch(examples // _BATCHES, drop_remainder=True)
    )
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
    return network


def _measure(
    network: keras.Model,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> tuple[float, ...]:
    """Train and test accuracy, gradient norm and curvature on test points."""
    accuracies = [
        float(np.mean(np.argmax(network(points), axis=-1) == labels))
        for points, labels in (train, test)
    ]
    found = geometry.measure(network, test, power_iterations=10).summary()
    return *accuracies, found["gradient_norm"][0], found["curvature"][0]


def _probabilities(network: keras.Model) -> np.ndarray:
    """Probability of class 1 on a grid over the unit square, lowest y first."""
    ticks = np.linspace(0, 1, _GRID, dtype=np.float32)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    odds = tf.nn.softmax(network(grid))[:, 1].numpy()
    return np.clip(odds, 0, 1).reshape(_GRID, _GRID)


def _seeds(config: ToyConfig) -> str:
    if config.seeds == 1:
        return f"one training, seed {config.seed}"
    last = config.seed + config.seeds - 1
    return f"mean and standard error over trainings of seeds {config.seed} to {last}"


def _over_seeds(values: Sequence[tuple[float, ...]]) -> list[Any]:
    """Each quantity's mean, with its standard error where there are several seeds."""
    table = np.array(values)
    means = table.mean(axis=0).tolist()
    if len(table) == 1:
        return means
    errors = table.std(axis=0, ddof=1) / np.sqrt(len(table))
    return list(zip(means, errors.tolist(), strict=True))


_TASKS: dict[str, Callable[[ToyConfig], Outcome]] = {"two_moons": two_moons}


if __name__ == "__main__":
    define_flags()
    # It warns of functions traced anew: here every network is a new one.
    tf.get_logger().setLevel("ERROR")
    program.run(main, lambda: options.grouped_help(__doc__))
