"""Requests that a server answers to itself before it answers anybody else.

The first request of a signature is slow, since TensorFlow prepares its graph then. TF
Serving replays what lies in `assets.extra/tf_serving_warmup_requests` of a version: a
TFRecord file of PredictionLog messages. A file that does not parse, or a record that
the model refuses, keeps the model from coming up, so what is written is read back and
answered here first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from export.inputs import PREDICTED, free_side
from export.prediction_logs import (
    Log,
    Request,
    parse_prediction_log,
    prediction_log,
)
from export.signatures import DEFAULT

FILE = "assets.extra/tf_serving_warmup_requests"
"""Where a server looks, below the folder of a version."""

MAX_RECORDS = 1000
"""A server refuses a file of more."""

# What is sent for a number; a number of iterations beyond one would only cost time.
_NUMBERS = {"classes": PREDICTED, "iterations": 1}


def requests_for(
    loaded: Any, batch_sizes: Sequence[int] = (1,)
) -> Iterator[tuple[str, Request]]:
    """A good request for each signature and batch size: grey images.

    Args:
        loaded: A loaded SavedModel, as `export_saved_model` writes it.
        batch_sizes: How many images the requests hold.

    Yields:
        Name of the signature and tensors by name.
    """
    default = loaded.signatures[DEFAULT]
    ((name, spec),) = default.structured_input_signature[1].items()
    side = free_side(spec.shape[1:], lambda images: default(**{name: images}))
    for size in batch_sizes:
        for name, function in loaded.signatures.items():
            specs = function.structured_input_signature[1]
            yield (
                name,
                {key: _gray(key, spec, size, side) for key, spec in specs.items()},
            )


def write_warmup(
    version: Path, model_name: str, batch_sizes: Sequence[int] = (1,)
) -> Path:
    """Write the file of a version and answer what is in it.

    Args:
        version: Folder of the SavedModel.
        model_name: What the server calls the model.
        batch_sizes: How many images the requests hold; each size is a request of every
            signature.

    Returns:
        The file.

    Raises:
        ValueError: If there are more records than a server takes, or the model refuses
            one. No file is left then.
    """
    loaded = tf.saved_model.load(str(version))
    requests = list(requests_for(loaded, batch_sizes))
    if not 1 <= len(requests) <= MAX_RECORDS:
        raise ValueError(
            f"`batch_sizes` must make 1 to {MAX_RECORDS} requests. "
            f"Received: {len(requests)} requests"
        )
    path = version / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, request in requests:
            writer.write(prediction_log(model_name, name, request))
    try:
        replay(path, loaded)
    except ValueError:
        path.unlink()
        raise
    return path


def replay(path: Path, loaded: Any) -> int:
    """Answer every request of a file, as a server does before it serves the model.

    Args:
        path: The TFRecord file.
        loaded: The loaded SavedModel.

    Returns:
        How many records there were.

    Raises:
        ValueError: If a record does not parse, names what the model does not have, or
            is refused by the model, or if there are more than a server takes.
    """
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            count += 1
            if count > MAX_RECORDS:
                raise ValueError(f"more than {MAX_RECORDS} records")
            _answer(parse_prediction_log(record), loaded)
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"`path` must hold requests that the model answers. Received: {path.name}, "
            f"record {count} ({_first_reason(error)})"
        ) from error
    return count


def _answer(log: Log, loaded: Any) -> None:
    if log.signature not in loaded.signatures:
        raise ValueError(f"the model has no signature {log.signature}")
    function = loaded.signatures[log.signature]
    specs = function.structured_input_signature[1]
    if set(log.inputs) != set(specs):
        raise ValueError(f"{log.signature} takes {', '.join(specs)}")
    function(
        **{
            name: tf.io.parse_tensor(log.inputs[name], spec.dtype)
            for name, spec in specs.items()
        }
    )


def _first_reason(error: Exception) -> str:
    """One line of an error; of a graph's, that of the check, if it was one."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reasons = [line for line in lines if line.strip() != "Graph execution error:"]
    reasons = reasons or lines
    return next((line for line in reasons if "assertion failed" in line), reasons[0])


def _gray(name: str, spec: tf.TensorSpec, size: int, free: int) -> tf.Tensor:
    shape = [size, *(side or free for side in spec.shape[1:])]
    if spec.dtype == tf.string:
        pixels = tf.fill([8, 8, 3], tf.constant(128, tf.uint8))
        return tf.fill(shape, tf.io.encode_png(pixels))
    value = 0.5 if spec.dtype.is_floating else _NUMBERS[name]
    return tf.fill(shape, tf.constant(value, spec.dtype))
