"""One comparison of classifiers, from their files to the table."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust import data, models, viz
from tfrobust.cli import data_record, datasets
from tfrobust.cli.loading import Loaded, find_model, load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import Record, Records, cell, read_evaluation
from tfrobust.cli.run_folder import run_around, write_text
from tfrobust.cli.tables import Column, Table, formatted, number
from tfrobust.core.estimates import Estimate
from trainers.suites.parts import logits_of

_COLUMNS = [
    Column("run", numeric=False),
    Column("test accuracy", formatted("{:.2%}")),
    Column("standard error", formatted("{:.2%}")),
    Column("mean beta", formatted("{:.3g}")),
    Column("mean gamma", formatted("{:.3g}")),
    Column("gradient norm", formatted("{:.3g}")),
    Column("seconds an epoch", formatted("{:.1f}")),
    Column("time ratio", formatted("{:.2f}")),
]


def compare(
    paths: Sequence[str], out: pathlib.Path | None, dataset: str, data_dir: str
) -> None:
    """Compares, prints and writes.

    Args:
        paths: The classifiers, the first of which times are compared to.
        out: Folder to write to, if any.
        dataset: What to measure on; empty: what each was trained on.
        data_dir: Folder that holds prepared TFDS folders.

    Raises:
        UsageError: If one cannot be measured.
    """
    for path in paths:
        find_model(path, flag="")
    loaded = [load_classifier(path, flag="") for path in paths]
    tests = _tests(loaded, dataset, data_dir)
    rows = [_row(model, *test) for model, test in zip(loaded, tests, strict=True)]
    names = [row["run"] for row in rows]
    first = rows[0]["seconds an epoch"]
    for row, model in zip(rows, loaded, strict=True):
        if names.count(row["run"]) > 1:
            row["run"] = str(model.source)
        seconds = row["seconds an epoch"]
        row["time ratio"] = seconds / first if seconds and first else None
    table = Table(
        _COLUMNS, [[row[column.title] for column in _COLUMNS] for row in rows]
    )
    print(table.markdown())
    if out is not None:
        _write(out, rows, table)


def _tests(
    loaded: list[Loaded], dataset: str, data_dir: str
) -> list[tuple[str, data.Dataset]]:
    """Name and images of each model's test data; `UsageError` if they do not fit."""
    names = [dataset or model.training.get("dataset", "") for model in loaded]
    for model, name in zip(loaded, names, strict=True):
        if not name:
            raise UsageError(
                f"--dataset must be given: nothing says what {model.source} was "
                "trained on."
            )
    read = {name: datasets.load(name, "test", data_dir) for name in set(names)}
    for model, name in zip(loaded, names, strict=True):
        model.check(read[name].image_shape, read[name].classes, name)
        data_record.check_tested(model.source, name, read[name])
    return [(name, read[name]) for name in names]


def _row(model: Loaded, dataset: str, test: data.Dataset) -> dict[str, Any]:
    summary = _summary(model)
    accuracy = _accuracy(model, test)
    # The norm was measured on the test images of the run.
    norm = summary.get("test_gradient_norm")
    is_open = model.kind == "Keras"
    return {
        "run": model.name,
        "test accuracy": accuracy,
        "standard error": math.sqrt(accuracy * (1 - accuracy) / len(test)),
        "mean beta": _mean(models.betas(model.network)) if is_open else None,
        "mean gamma": _mean(models.gammas(model.network)) if is_open else None,
        "gradient norm": norm if summary.get("dataset") == dataset else None,
        "seconds an epoch": summary.get("seconds_per_epoch_median"),
    }


def _summary(model: Loaded) -> dict[str, Any]:
    """What a finished run says of its last network; empty of any other."""
    run = run_around(model.source)
    if run is None or not run.summary.exists():
        return {}
    if model.source.resolve() != run.model.resolve():
        return {}
    return json.loads(run.summary.read_text())


def _mean(values: dict[str, float]) -> float | None:
    return float(np.mean(list(values.values()))) if values else None


def _accuracy(model: Loaded, test: data.Dataset) -> float:
    # What `export` writes takes so many at a time, and perhaps fewer.
    size = min(500 if model.kind == "Keras" else 50, len(test))
    correct = 0
    for images, labels in data.eval_pipeline(test, batch_size=size):
        try:
            logits = logits_of(model, images)
        except tf.errors.InvalidArgumentError as error:
            raise UsageError(
                f"{model.source} refused its images, {size} at a time: {error.message}"
            ) from error
        correct += int(np.sum(np.argmax(logits, axis=-1) == labels.numpy()))
    return correct / len(test)


def _write(out: pathlib.Path, rows: list[dict[str, Any]], table: Table) -> None:
    points = {
        row["run"]: (row["mean beta"], row["test accuracy"], row["standard error"])
        for row in rows
    }
    _write_table(out, table)
    viz.save(viz.accuracy_against_beta(points), out / "tradeoff.png")


def _write_table(out: pathlib.Path, table: Table) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "comparison.md", table.markdown() + "\n")
    write_text(out / "comparison.csv", table.csv())


def compare_evaluations(
    paths: Sequence[str], out: pathlib.Path | None, curves: Sequence[str]
) -> None:
    """Puts the numbers of finished evaluations side by side, prints and writes.

    Args:
        paths: The evaluations.
        out: Folder to write to, if any.
        curves: Curves of accuracy against curvature, as `--curve` takes them.

    Raises:
        UsageError: If a curve is none, or of no model here.
        ValueError: If a path is no evaluation.
    """
    records = _together(paths)
    drawn = dict(_curve(text, records) for text in curves)
    table = _side_by_side(records)
    print(table.markdown())
    if out is not None:
        _write_table(out, table)
    if out is not None and drawn:
        viz.save(viz.accuracy_against_curvature(drawn), out / "tradeoff.png")


def _side_by_side(records: Records) -> Table:
    """A line for each quantity and its settings, a column a model."""
    # By all of its settings: those of one record may be among another's.
    cells = {(record.model, record.label): cell(record.estimate) for record in records}
    labels = dict.fromkeys(record.label for record in records)
    columns = [Column("quantity", numeric=False)]
    columns += [Column(model, number) for model in records.models]
    return Table(
        columns,
        [
            [label, *(cells.get((model, label)) for model in records.models)]
            for label in labels
        ],
    )


def _together(paths: Sequence[str]) -> Records:
    """All records; a name that two evaluations have is followed by where from."""
    read = {str(path): read_evaluation(path).records for path in paths}
    names = [name for records in read.values() for name in records.models]
    return Records(
        dataclasses.replace(record, model=f"{record.model}, {path}")
        if names.count(record.model) > 1
        else record
        for path, records in read.items()
        for record in records
    )


def _curve(
    text: str, records: Records
) -> tuple[str, list[tuple[str, Estimate, Estimate]]]:
    method, colon, points = text.partition(":")
    if not colon or not points:
        raise UsageError(f"--curve={text} must be METHOD:MODEL=LABEL,MODEL=LABEL.")
    return method, [_point(point, records) for point in points.split(",")]


def _point(text: str, records: Records) -> tuple[str, Estimate, Estimate]:
    """Label, curvature and accuracy, both on test images."""
    name, _, label = text.partition("=")
    if name not in records.models:
        raise UsageError(
            f"--curve names {name!r}, but the evaluations are of "
            f"{', '.join(records.models)}."
        )
    clean = _first(records, name, "accuracy", split="test", attacked=None)
    curvature = _first(records, name, "curvature", split="test")
    if clean is None or curvature is None:
        raise UsageError(
            f"--curve names {name!r}, whose accuracy and curvature were not measured."
        )
    return label, curvature.estimate, clean.estimate


def _first(records: Records, name: str, quantity: str, **how: Any) -> Record | None:
    """What the first suite of an evaluation measured; a later one says its name."""
    return records.get(name, quantity, suite=None, **how)
