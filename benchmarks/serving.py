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

import argparse
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

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

Key = tuple[str, str]


def main() -> None:
    """Exports, times in turn and prints a table for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        exports = _exports(scratch, arguments.width, max(arguments.batch_sizes))
        for size in arguments.batch_sizes:
            seconds = _time(exports, scratch, size, arguments.repeats)
            print(
                f"ResNet-18, width {arguments.width}, batch {size}, 32x32x3, "
                f"TensorFlow {tf.__version__}, {arguments.repeats} rounds"
            )
            print(_table(seconds))


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


def _table(seconds: dict[Key, np.ndarray]) -> str:
    """Median milliseconds of each, and median ratios with their standard errors."""
    lines = [f"{'':<44}{'ms':>9}"]
    for (name, signature), times in seconds.items():
        lines.append(f"{f'{name}: {signature}':<44}{1e3 * np.median(times):>9.2f}")
    lines.append(f"{'':<44}{'ratio':>9}{'+-':>8}")
    for title, (first, second) in _RATIOS.items():
        ratios = seconds[first] / seconds[second]
        error = np.std(ratios) / np.sqrt(len(ratios))
        lines.append(f"{title:<44}{np.median(ratios):>9.3f}{error:>8.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
