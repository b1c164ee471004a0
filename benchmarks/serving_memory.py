"""Claim: the largest request of each signature fits into a served model's 4 GB.

    python -m benchmarks.serving_memory --width=64 --batch_sizes 1 64 256

4 GB is the limit of memory in docs/serving, 256 the default of `--max_batch`, 64 that
of `--max_gradients`, which signatures that take gradients are held to. In the C++
runtime of tests/serving, a process for each line asks one request twice: the peak of
its resident memory, with the program and the model, over the limit.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.reports import Parser, Report, need_compiler, start
from benchmarks.steps import random_batch
from export import export_saved_model
from export.decoding import MAX_PIXELS
from export.limits import MAX_GRADIENTS
from export.signatures import NAMES, WITH_GRADIENTS, Settings
from tests.serving import build
from tests.serving.messages import Request, write_requests
from tfrobust import attacks, models

SHAPE, CLASSES = (32, 32, 3), 10
LIMIT = 4e9
_QUICK = {"width": 4, "batch_sizes": [1]}


def main(argv: Sequence[str] | None = None) -> Report:
    """Exports and asks, with a row for each signature and number of images."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 64, 256])
    arguments, report = parser.parse(argv)
    need_compiler()
    settings = Settings(
        attack=attacks.PGD(norm=2, eps=0.5, steps=2),
        max_batch=max(arguments.batch_sizes),
    )
    keras.utils.set_random_seed(0)
    network = models.ResNet18(SHAPE, CLASSES, "lcnn", arguments.width)
    asked = [
        (signature, size)
        for signature in NAMES
        for size in arguments.batch_sizes
        if size <= MAX_GRADIENTS or signature not in WITH_GRADIENTS
    ]
    add = report.begin(
        f"LCNN ResNet-18, width {arguments.width}",
        {"peak_gb": ".2f", "of_4_gb": ".2f"},
        claimed={_row_name(*each): 1.0 for each in asked},
        measure="of_4_gb",
    )
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        version = export_saved_model(
            network, scratch / "net", signatures=NAMES, settings=settings
        )
        for signature, size in asked:
            peak = _peak(version, _request(signature, size), scratch)
            row = {"name": _row_name(signature, size), "peak_gb": peak / 1e9}
            add({**row, "of_4_gb": peak / LIMIT})
    return report


def _row_name(signature: str, count: int) -> str:
    return f"{signature}, {count}"


def _request(signature: str, count: int) -> Request:
    """Two iterations need as much memory as a hundred."""
    if signature == "predict_bytes":
        # As many pixels as are allowed, together.
        side = math.isqrt(MAX_PIXELS // count)
        file = tf.io.encode_png(tf.zeros([side, side, 3], tf.uint8)).numpy()
        return signature, {"image_bytes": np.array(count * [file], object)}
    images, _ = random_batch(count, SHAPE)
    images = np.asarray(images)
    more = {
        "explain": {"classes": np.full(count, -1, np.int32)},
        "attack": {"classes": np.full(count, -1, np.int32)},
        "robustness": {"iterations": np.full(count, 2, np.int32)},
        "smooth": {"perturbations": images - 0.5},
    }
    return signature, {"images": images, **more.get(signature, {})}


def _peak(version: Path, request: Request, scratch: Path) -> float:
    """Bytes that the process had at its peak."""
    requests = write_requests(scratch / "requests", [request])
    options = ("--requests=2", "--threads=1")
    report = build.run("load", str(version), str(requests), *options)
    if set(report["codes"]) != {"OK"}:
        raise RuntimeError(f"{request[0]} was answered {report['codes']}")
    return 2.0**20 * report["peak_mib"]


if __name__ == "__main__":
    start(main)
