"""Claim: serving costs at most 1.1 times the bare Keras graph, and folding pays.

    python -m benchmarks.serving --width=64 --batch_sizes 1 32 --repeats=50

All in the C++ runtime of tests/serving, which is TensorFlow's without Python, one
request after the other in one process. Every export takes its turn in each round and
what is compared is each round's ratio, so that a busy neighbour slows all of them.

- `serving_default` of a standard network over an export of the same Keras model that
  checks nothing and answers with logits alone: at most 1.1.
- `serving_default` of an LCNN over that of the standard network, both folded: at most
  1.02; without folding for comparison. The networks differ in their activations.
- `robustness` with 10 iterations over a prediction of the same export: at most 25.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.reports import Parser, Report, need_compiler, start
from benchmarks.steps import random_batch
from export import export_saved_model
from export.signatures import DEFAULT, Settings
from tests.serving import build
from tests.serving.messages import Request, write_requests
from tfrobust import models

SHAPE, CLASSES = (32, 32, 3), 10
ITERATIONS = 10
PREDICT, ROBUSTNESS = DEFAULT, "robustness"

# What is compared: an export and its signature, over another of them.
_RATIOS = {
    "checks, over the bare graph": (("standard", PREDICT), ("bare", PREDICT)),
    "checks and folding, over the bare graph": (
        ("standard, folded", PREDICT),
        ("bare", PREDICT),
    ),
    "LCNN over standard, both folded": (
        ("lcnn, folded", PREDICT),
        ("standard, folded", PREDICT),
    ),
    "LCNN over standard, neither folded": (("lcnn", PREDICT), ("standard", PREDICT)),
    "LCNN folded over not folded": (("lcnn, folded", PREDICT), ("lcnn", PREDICT)),
    f"robustness, {ITERATIONS} iterations, over a prediction": (
        ("lcnn, folded", ROBUSTNESS),
        ("lcnn, folded", PREDICT),
    ),
}

_BOUNDS = {
    "checks, over the bare graph": 1.1,
    "LCNN over standard, both folded": 1.02,
    f"robustness, {ITERATIONS} iterations, over a prediction": 25.0,
}
_QUICK = {"width": 4, "batch_sizes": [1, 2], "repeats": 5}

Key = tuple[str, str]


def main(argv: Sequence[str] | None = None) -> Report:
    """Exports and times in turn, with two tables for each batch size."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--repeats", type=int, default=50)
    arguments, report = parser.parse(argv)
    need_compiler()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        exports = _exports(scratch, arguments.width, max(arguments.batch_sizes))
        for size in arguments.batch_sizes:
            seconds = _time(exports, scratch, size, arguments.repeats)
            title = (
                f"ResNet-18, width {arguments.width}, batch {size}, 32x32x3, "
                f"{arguments.repeats} rounds"
            )
            report.table(title, _times(seconds), {"ms": ".2f"}, key=f"batch {size}, ms")
            report.table(
                title,
                _ratios(seconds),
                {"ratio": ".3f", "ratio_error": ".3f"},
                key=f"batch {size}",
                claimed=_BOUNDS,
                measure="ratio",
            )
    return report


def _exports(folder: Path, width: int, most: int) -> dict[str, Path]:
    """Versions to be timed, by name, that take so many images at a time."""
    settings = Settings(max_batch=most, max_gradients=most)
    exports = {}
    for variant in ("standard", "lcnn"):
        keras.utils.set_random_seed(0)
        network = models.ResNet18(SHAPE, CLASSES, variant, width)
        if variant == "standard":
            exports["bare"] = _bare(network, folder / "bare")
        for folded in (False, True):
            name = f"{variant}, folded" if folded else variant
            exports[name] = export_saved_model(
                network,
                folder / name,
                signatures=[PREDICT, ROBUSTNESS],
                folded=folded,
                settings=settings,
            )
    return exports


def _bare(network: keras.Model, folder: Path) -> Path:
    """The Keras graph and nothing else."""
    archive = keras.export.ExportArchive()
    archive.track(network)
    images = tf.TensorSpec([None, *SHAPE], tf.float32, name="images")
    archive.add_endpoint(
        PREDICT,
        lambda images: {"logits": network(images, training=False)},
        input_signature=[images],
    )
    archive.write_out(str(folder), verbose=False)
    return folder


def _requests(name: str, size: int) -> list[Request]:
    images, _ = random_batch(size, SHAPE)
    counts = np.full(size, ITERATIONS, np.int32)
    predict = (PREDICT, {"images": images})
    robustness = (ROBUSTNESS, {"images": images, "iterations": counts})
    return [predict, robustness] if name == "lcnn, folded" else [predict]


def _time(
    exports: dict[str, Path], scratch: Path, size: int, repeats: int
) -> dict[Key, np.ndarray]:
    """Seconds of every round, by export and signature."""
    command = ["time", f"--repeats={repeats}"]
    for name, export in exports.items():
        requests = write_requests(scratch / f"{name}.requests", _requests(name, size))
        command += [str(export), str(requests)]
    names = list(exports)
    return {
        (names[run["model"]], run["signature"]): np.array(run["seconds"])
        for run in build.run(*command)
    }


def _times(seconds: dict[Key, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Median milliseconds of each."""
    for (name, signature), times in seconds.items():
        yield {"name": f"{name}: {signature}", "ms": 1e3 * float(np.median(times))}


def _ratios(seconds: dict[Key, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Median ratios of the rounds, with their standard errors."""
    for title, (first, second) in _RATIOS.items():
        ratios = seconds[first] / seconds[second]
        error = np.std(ratios) / np.sqrt(len(ratios))
        median = float(np.median(ratios))
        yield {"name": title, "ratio": median, "ratio_error": float(error)}


if __name__ == "__main__":
    start(main)
