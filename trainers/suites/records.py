"""What suites of `trainers.evaluate` have in common: cells, logits, a bar."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from tfrobust import data
from tfrobust.attacks import AttackResult
from tfrobust.cli.loading import Loaded
from tfrobust.cli.tables import Column, Table
from tfrobust.core.terminal import columns
from trainers.suites.options import EvaluateConfig

Pair = tuple[float, float]
"""A mean and its standard error."""


def pair(estimate: Any) -> Pair:
    """An `Estimate` as a cell of a table.

    Example:
        >>> from tfrobust.core.estimates import mean
        >>> pair(mean([1.0, 3.0]))
        (2.0, 1.0)
    """
    mean, error = estimate
    return float(mean), float(error)


def stated(value: Pair | None) -> dict[str, float | None]:
    """A pair for JSON, which has no NaN and no infinity.

    Example:
        >>> stated((0.5, math.nan))
        {'mean': 0.5, 'standard_error': None}
    """
    values = (None, None) if value is None else value
    mean, error = (v if v is not None and np.isfinite(v) else None for v in values)
    return {"mean": mean, "standard_error": error}


def cell_of(value: Pair) -> Pair | float | None:
    """A pair as people read it: empty without a mean, a number without an error.

    Example:
        >>> cell_of((math.nan, math.nan)), cell_of((2.0, math.nan)), cell_of((2.0, 0.5))
        (None, 2.0, (2.0, 0.5))
    """
    mean, error = value
    if math.isnan(mean):
        return None
    return mean if math.isnan(error) else value


def table_of_means(
    results: dict[str, dict[str, Any]],
    lines: Callable[[dict[str, Any]], Iterable[list[Any]]],
) -> Table:
    """One line for each mean of each model.

    Args:
        results: What was found, by model.
        lines: One model's as `[quantity, setting, images, mean, standard error]`.
    """
    titles = ("model", "quantity", "setting", "images", "mean", "standard error")
    rows = [[name, *line] for name, one in results.items() for line in lines(one)]
    return Table([Column(title) for title in titles], rows)


def at(column: np.ndarray, row: int) -> Any:
    """A cell: a plain number, 0 or 1 for a truth value, `None` past the end.

    Example:
        >>> at(np.array([True, False]), 0), at(np.array([0.5]), 1)
        (1, None)
    """
    if row >= len(column):
        return None
    value = np.asarray(column[row]).item()
    return int(value) if isinstance(value, bool) else value


def logits_of(model: Loaded, images: Any) -> np.ndarray:
    """What a model answers in use, not in training, `[B, K]`."""
    inference = {"training": False} if isinstance(model.call, keras.Model) else {}
    return np.asarray(model.call(images, **inference))


def clean_correct(
    config: EvaluateConfig, model: Loaded, test: data.Dataset
) -> np.ndarray:
    """Which of the first --clean_examples test images a model has right, bool `[N]`."""
    count = config.clean_examples or len(test)
    size = min(config.batch_size, count)
    batches = data.eval_pipeline(test.take(count), batch_size=size)
    correct = [
        np.argmax(logits_of(model, images), axis=-1) == labels.numpy()
        for images, labels in bar(batches, "clean accuracy")
    ]
    return np.concatenate(correct)


def joined(parts: Sequence[AttackResult]) -> AttackResult:
    """The results of all batches as one, in NumPy's arrays."""
    return AttackResult(
        *(
            np.concatenate([np.asarray(field) for field in fields])
            for fields in zip(*parts, strict=True)
        )
    )


def bar(batches: Any, title: str) -> Any:
    """The batches with a progress bar, on a terminal only."""
    # The end of a path tells more than its beginning; the time left needs the room.
    title = title if len(title) <= 30 else f"...{title[-27:]}"
    return tqdm(
        batches,
        title,
        total=len(batches),
        leave=False,
        ncols=columns(sys.stderr),
        disable=None,
    )
