"""Puts finished runs side by side: accuracy on all test images, beta, gamma, time.

    python -m trainers.compare runs/standard runs/lcnn --out=runs/comparison

The first run is the one that times are compared to. Prints a Markdown table and writes
it to OUT with comparison.csv and tradeoff.png (accuracy against mean beta). Accuracy is
measured anew from each run's model.keras, on the whole test set of its data; everything
else comes from its summary.json.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
from typing import Any

import keras
import numpy as np

import tfrobust.layers  # noqa: F401  Registers the layers for loading.
from tfrobust import data, viz
from trainers import program
from trainers.run_folder import RunFolder, write_text
from trainers.tables import Column, Table, formatted

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


def main(arguments: argparse.Namespace) -> None:
    """Compares, prints and writes."""
    folders = [RunFolder(path) for path in arguments.runs]
    for folder in folders:
        if not folder.summary.exists() or not folder.model.exists():
            raise program.UsageError(f"{folder.path} holds no finished run.")
    rows = [_row(folder, arguments.data_dir) for folder in folders]
    for row in rows:
        row["time ratio"] = row["seconds an epoch"] / rows[0]["seconds an epoch"]
    table = Table(
        _COLUMNS, [[row[column.title] for column in _COLUMNS] for row in rows]
    )
    print(table.markdown())
    if arguments.out:
        _write(pathlib.Path(arguments.out), rows, table)


def _row(folder: RunFolder, data_dir: str) -> dict[str, Any]:
    summary = json.loads(folder.summary.read_text())
    test = data.load(summary["dataset"], "test", data_dir or None)
    accuracy = _accuracy(folder.model, test)
    return {
        "run": folder.path.name,
        "test accuracy": accuracy,
        "standard error": math.sqrt(accuracy * (1 - accuracy) / len(test)),
        "mean beta": summary["mean_beta"],
        "mean gamma": summary["mean_gamma"],
        "gradient norm": summary["test_gradient_norm"],
        "seconds an epoch": summary["seconds_per_epoch_median"],
    }


def _accuracy(path: pathlib.Path, test: data.Dataset) -> float:
    network = keras.saving.load_model(path, compile=False)
    correct = 0
    for images, labels in data.eval_pipeline(test, batch_size=min(500, len(test))):
        logits = network(images, training=False)
        correct += int(np.sum(np.argmax(logits, axis=-1) == labels.numpy()))
    return correct / len(test)


def _write(out: pathlib.Path, rows: list[dict[str, Any]], table: Table) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "comparison.md", table.markdown() + "\n")
    write_text(out / "comparison.csv", table.csv())
    points = {
        row["run"]: (row["mean beta"], row["test accuracy"], row["standard error"])
        for row in rows
    }
    viz.save(viz.accuracy_against_beta(points), out / "tradeoff.png")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument("--data_dir", default="", help="as for trainers.cifar")
    parser.add_argument("--out", default="", help="folder to write to; empty: none")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main(_parse())
    except (program.UsageError, ValueError) as error:
        program.fail(str(error))
