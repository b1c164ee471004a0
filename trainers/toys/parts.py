"""What the experiments in the plane share: settings, training, grids and means."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfrobust.cli.tables import Table
from tfrobust.penalties import Penalty
from tfrobust.training import RobustModel
from trainers.toys.options import ToyConfig

Extent = tuple[float, float, float, float]
"""`(x_min, x_max, y_min, y_max)`."""

_GRID = 201


@dataclasses.dataclass(frozen=True)
class ToyReport:
    """The results of a task: a sentence on what was done, the numbers, the figure."""

    sentence: str
    table: Table
    figure: Figure


def fit(
    network: keras.Model,
    inputs: Any,
    labels: np.ndarray,
    *,
    terms: Sequence[Penalty],
    learning_rate: float,
    batch: int,
    steps: int,
    seed: int,
) -> None:
    """Trains by Adam, its rate falling to 0 along a cosine, in one call into the graph.

    Steps on a few points are far shorter than what Keras does between two of them.

    Args:
        network: What is trained.
        inputs: Images, or a dictionary of them and their extras, N each.
        labels: int32 `[N]`.
        terms: Penalties.
        learning_rate: Of the first step.
        batch: Points a step, at most N.
        steps: How many.
        seed: Of the order of points.
    """
    model = RobustModel(network)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(
        keras.optimizers.Adam(rate), penalties=terms, steps_per_execution=steps
    )
    batches = (
        tf.data.Dataset.from_tensor_slices((inputs, labels))
        .shuffle(len(labels), seed=seed)
        .repeat()
        .batch(batch, drop_remainder=True)
    )
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)


def probabilities(
    classify: Callable[[np.ndarray], tf.Tensor], extent: Extent = (0.0, 1.0, 0.0, 1.0)
) -> np.ndarray:
    """Probability of class 1 on an even grid, rows from the lowest y.

    Args:
        classify: Maps points float32 `[N,2]` to logits `[N,2]`.
        extent: What the grid covers, ends included.

    Returns:
        float32 `[R,R]`, as `viz.decision_boundaries` takes it.
    """
    x = np.linspace(*extent[:2], _GRID, dtype=np.float32)
    y = np.linspace(*extent[2:], _GRID, dtype=np.float32)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    odds = tf.nn.softmax(classify(grid))[:, 1].numpy()
    return np.clip(odds, 0, 1).reshape(_GRID, _GRID)


def which_seeds(config: ToyConfig) -> str:
    """What the table's numbers are over."""
    if config.seeds == 1:
        return f"one training, seed {config.seed}"
    last = config.seed + config.seeds - 1
    return f"mean and standard error over trainings of seeds {config.seed} to {last}"


def over_seeds(values: Sequence[tuple[float, ...]]) -> list[Any]:
    """Each quantity's mean, with its standard error where there are several seeds."""
    table = np.array(values)
    means = table.mean(axis=0).tolist()
    if len(table) == 1:
        return means
    errors = table.std(axis=0, ddof=1) / np.sqrt(len(table))
    return list(zip(means, errors.tolist(), strict=True))
