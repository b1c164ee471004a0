"""A smaller copy of a served model, as one TFLite file, and what it costs in accuracy.

It lies in `assets.extra` of the version that it is made of, which a server passes over,
and is written before the version is renamed into place: a version is complete when it
appears and never changes. docs/SERVING.md describes it.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from export.limits import MAX_BATCH
from export.signatures import DEFAULT
from tfrobust import data
from tfrobust.cli.dataset_names import short_name
from tfrobust.cli.json_values import finite_or_none
from tfrobust.cli.run_folder import write_json
from tfrobust.cli.tables import Column, Table, percent
from tfrobust.core.errors import first_line
from tfrobust.settings import require

KINDS = ("float16", "dynamic_int8")
"""float16 halves every weight; dynamic_int8 stores kernels of over 1024 numbers in 8
bits, one scale a channel, and rounds features to 8 bits on the way."""

GENERATED = 256
"""Images that are compared where no data set is given."""

_BATCH = 64
# What stands for a free side of an image.
_ANY_SIDE = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """Images on which two models are compared.

    Args:
        images: float32 `[N,H,W,C]`, as the model takes them.
        labels: Integers `[N]`; `None` if nobody knows.
        origin: What they are, in words.
    """

    images: np.ndarray
    labels: np.ndarray | None
    origin: str


def draw_sample(
    dataset: str,
    data_dir: str | None,
    count: int,
    shape: Sequence[int | None],
    classes: int,
) -> Sample:
    """Test images of a data set, balanced over the classes.

    Args:
        dataset: Its name, as for `tfrobust.data.load`.
        data_dir: Where prepared data lies; `None` is TFDS's own place.
        count: How many; 0 for all.
        shape: `(H, W, C)` of the model; `None` where any size will do.
        classes: K of the model.

    Returns:
        The images with their labels.

    Raises:
        ValueError: If there are fewer, or they or their classes do not fit the model.
        OSError: If they cannot be read.

    Example:
        >>> draw_sample("shapes", None, 20, (32, 32, 3), 10).images.shape
        (20, 32, 32, 3)
    """
    test = data.load(dataset, "test", data_dir)
    pairs = zip(shape, test.image_shape, strict=True)
    if test.classes != classes or any(own not in (None, size) for own, size in pairs):
        raise ValueError(
            "`dataset` must have images and classes as the model. Received: "
            f"{dataset} with images {test.image_shape} of {test.classes} classes"
        )
    allowed = f"in [0, {len(test)}], which {dataset} has"
    require(0 <= count <= len(test), "examples", count, allowed)
    if count:
        test = test.subset(count, seed=0)
    images = test.images.astype(np.float32) / np.float32(255.0)
    return Sample(images, test.labels, f"test images of {short_name(dataset)}")


def generate_sample(shape: Sequence[int | None]) -> Sample:
    """Smooth random images, for want of data: coarse grids of colours, resized.

    Args:
        shape: `(H, W, C)`; 32 stands for a free side.

    Returns:
        256 images, the same each time, without labels.

    Example:
        >>> generate_sample((8, None, 1)).images.shape
        (256, 8, 32, 1)
    """
    height, width, channels = (side or _ANY_SIDE for side in shape)
    random = np.random.default_rng(0)
    coarse = random.random((GENERATED, 4, 4, channels), np.float32)
    images = tf.image.resize(coarse, [height, width]).numpy()
    return Sample(np.clip(images, 0.0, 1.0), None, "generated images")


def write_quantized(
    folder: str | os.PathLike[str],
    kind: str,
    sample: Sample,
    max_batch: int = MAX_BATCH,
) -> dict[str, Any]:
    """Convert a SavedModel's `serving_default` and compare the two.

    Writes `assets.extra/model_KIND.tflite` and the figures beside it as
    `model_KIND.json`. The file has the signature of the SavedModel and needs TFLite's
    own operations only. TFLite knows no assertions, so it checks no pixels.

    Args:
        folder: With `saved_model.pb`, and not seen by a server yet.
        kind: `"float16"` or `"dynamic_int8"`.
        sample: What both answer.
        max_batch: Images that the SavedModel takes at a time.

    Returns:
        The figures: `kind`; `file`; `origin` and number of `images`; `agreement`, the
        share that both put into one class; `accuracy` of `saved_model` and `tflite`, or
        `None`; `logit_difference` as `max` and `mean`, and `logit_size`, the largest
        logit; `bytes` of `saved_model` and `tflite`. `None` is not a finite number.

    Raises:
        ValueError: If the kind is unknown or TFLite cannot express the model.

    Example:
        >>> import keras, pathlib, tempfile
        >>> from export import export_saved_model
        >>> model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten()])
        >>> folder = export_saved_model(model, tempfile.mkdtemp() + "/flat")
        >>> sample = generate_sample((2, 2, 1))
        >>> write_quantized(folder, "float16", sample)["agreement"]
        1.0
    """
    require(kind in KINDS, "kind", kind, f"one of {', '.join(KINDS)}")
    folder = Path(folder)
    loaded = tf.saved_model.load(str(folder))
    size = _size(folder)
    theirs = _logits(loaded.signatures[DEFAULT], sample.images, max_batch)
    try:
        lite = _convert(folder, kind)
        # Some models convert to what does not run.
        ours = _logits(_runner(lite), sample.images, max_batch)
    except Exception as error:
        # The converter raises a type of its own, which has no public name.
        reason = first_line(error)
        raise ValueError(
            f"`model` must be of operations that TFLite has. Received: {reason}"
        ) from error
    name = f"assets.extra/model_{kind}"
    report = {
        "kind": kind,
        "file": f"{name}.tflite",
        "images": len(sample.images),
        "origin": sample.origin,
        **_compare(theirs, ours, sample.labels),
        "bytes": {"saved_model": size, "tflite": len(lite)},
    }
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / f"{name}.tflite").write_bytes(lite)
    write_json(folder / f"{name}.json", report)
    return report


def report_table(report: dict[str, Any]) -> Table:
    """The figures of `write_quantized` for people, one line a model."""
    accuracy = report["accuracy"] or {"saved_model": None, "tflite": None}
    difference, size = report["logit_difference"], report["bytes"]
    columns = [
        Column("model", numeric=False),
        Column("MB", "{:.2f}".format),
        Column("accuracy", percent),
        Column("same class", percent),
        Column("largest difference", "{:.2g}".format),
        Column("mean difference", "{:.2g}".format),
    ]
    small = [report["agreement"], difference["max"], difference["mean"]]
    return Table(
        columns,
        [
            [name, size[key] / 1e6, accuracy[key], *rest]
            for name, key, rest in (
                ("SavedModel", "saved_model", [None] * 3),
                (report["kind"], "tflite", small),
            )
        ],
    )


def _size(folder: Path) -> int:
    """Bytes of the graph and its weights."""
    files = [folder / "saved_model.pb", *(folder / "variables").iterdir()]
    return sum(file.stat().st_size for file in files)


def _convert(folder: Path, kind: str) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder), signature_keys=[DEFAULT]
    )
    # No others, so that any TFLite runs it; what does not fit fails here.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def _runner(lite: bytes) -> Callable[..., dict[str, Any]]:
    with warnings.catch_warnings():
        # It has moved to a package of its own; TensorFlow still holds this one.
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated")
        interpreter = tf.lite.Interpreter(
            model_content=lite, num_threads=os.cpu_count() or 1
        )
    runner: Callable[..., dict[str, Any]] = interpreter.get_signature_runner(DEFAULT)
    return runner


def _logits(
    run: Callable[..., dict[str, Any]], images: np.ndarray, most: int
) -> np.ndarray:
    """Logits float64 `[N,K]`."""
    size = min(_BATCH, most)
    batches = (images[start : start + size] for start in range(0, len(images), size))
    logits = [run(images=tf.constant(batch))["logits"] for batch in batches]
    return np.concatenate(logits).astype(np.float64)


def _compare(
    theirs: np.ndarray, ours: np.ndarray, labels: np.ndarray | None
) -> dict[str, Any]:
    """How two sets of logits differ."""
    before, after = theirs.argmax(axis=1), ours.argmax(axis=1)
    difference = np.abs(ours - theirs)
    accuracy = None
    if labels is not None:
        accuracy = {
            "saved_model": float(np.mean(before == labels)),
            "tflite": float(np.mean(after == labels)),
        }
    return {
        "agreement": float(np.mean(before == after)),
        "accuracy": accuracy,
        "logit_difference": {
            "max": finite_or_none(difference.max()),
            "mean": finite_or_none(difference.mean()),
        },
        "logit_size": finite_or_none(np.abs(theirs).max()),
    }
