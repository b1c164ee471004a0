"""What a batch of training or evaluation holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfrobust.core.answers import are_probabilities
from tfrobust.core.classifier import PROBABILITIES
from tfrobust.core.images import (
    check_classes,
    floating,
    is_wide,
    scale_sentence,
    within_sentence,
)
from tfrobust.core.pixels import UNIT, Bounds


class TrainingBatch(NamedTuple):
    """The parts of a batch.

    Attributes:
        images: float32 `[B, ...]`, as they were given.
        labels: int32 `[B]`; of shares of several classes the one of the largest.
        targets: What was given for labels: integers or floating `[B]` or `[B,1]`, or
            `[B,K]`.
        weights: float32 `[B]`, or `None` where every example weighs the same.
        extras: What else the batch says of each image, `[B, ...]` by name.
    """

    images: tf.Tensor
    labels: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor | None
    extras: dict[str, tf.Tensor]


def unpack(
    data: Any,
    bounds: Bounds = UNIT,
    *,
    inputs: Sequence[str] = (),
    output: str | None = None,
) -> TrainingBatch:
    """The parts of what Keras hands to a step, checked.

    Args:
        data: `(images, labels)` or `(images, labels, weights)`, where a dictionary may
            stand for the images that holds them as `images`, or by the name of the
            network's input, and extras beside them; and one for labels or weights that
            holds them by the name of the output.
        bounds: The range of the pixels. Integers are images where it is that of bytes.
        inputs: The names of the network's inputs.
        output: The name of the output.

    Raises:
        ValueError: If a part is missing, or of a wrong type or shape.

    Example:
        >>> batch = unpack(({"images": [[0.5]], "index": [7]}, [0]))
        >>> batch.images.shape, batch.weights, batch.extras
        (TensorShape([1, 1]), None, {'index': [7]})
    """
    images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    images, extras = _images_in(images, inputs)
    labels, weights = _of_output(labels, output), _of_output(weights, output)
    if labels is None:
        raise ValueError(
            "Training and evaluation need batches of (images, labels). "
            "Received: images alone"
        )
    images = floating(images, bounds, any_rank=True)
    targets = tf.convert_to_tensor(labels)
    if targets.dtype == tf.bool:
        targets = tf.cast(targets, tf.int32)
    labels = _largest(targets) if _are_shares(targets) else targets
    labels = check_classes("labels", labels, images)
    return TrainingBatch(images, labels, targets, _checked_weights(weights), extras)


def checked(batch: TrainingBatch, bounds: Bounds, classes: int | None) -> TrainingBatch:
    """The batch, whose use in a graph fails unless its values are in range.

    Args:
        batch: What `unpack` returns.
        bounds: The range of the pixels. Rows of numbers, of rank 2, are no images, and
            any will do where it is [0, 1].
        classes: K, if known.
    """
    low, high = bounds
    checks = []
    if batch.images.shape.rank != 2 or bounds != UNIT:
        least, largest = _range(batch.images)
        # Written so that NaN fails too.
        checks.append(
            tf.debugging.Assert(
                (least >= low) & (largest <= high),
                [within_sentence("images", bounds), least, largest],
            )
        )
    if is_wide(bounds):
        least, largest = _range(batch.images)
        whole = tf.reduce_all(batch.images == tf.round(batch.images))
        checks.append(
            tf.debugging.Assert(
                (largest > 1.0) | whole,
                [scale_sentence("images", bounds), least, largest],
            )
        )
    if classes is not None:
        checks.append(check_labels(batch.labels, classes))
    with tf.control_dependencies([check for check in checks if check is not None]):
        return batch._replace(images=tf.identity(batch.images))


def check_labels(labels: tf.Tensor, classes: int) -> tf.Operation | None:
    """Fails in a graph over labels int `[B]` outside of [0, K); eagerly raises."""
    least, largest = _range(labels)
    return tf.debugging.Assert(
        (least >= 0) & (largest < classes),
        [f"`labels` must lie in [0, {classes})", least, largest],
    )


def check_logits(logits: tf.Tensor) -> tf.Operation | None:
    """Fails in a graph over logits `[B,K]` that are probabilities; eagerly raises."""
    least, largest = _range(logits)
    are_odds = are_probabilities(logits) & (tf.size(logits) > 0)
    return tf.debugging.Assert(~are_odds, [PROBABILITIES, least, largest])


def sentence_of(error: Exception) -> str | None:
    """The sentence of a check of `checked` that failed, if an error is one.

    Example:
        >>> sentence_of(ValueError("assertion failed: [`x` must be 0] [1] [2]"))
        '`x` must be 0. Received: values from 1 to 2'
    """
    found = re.search(
        r"assertion failed: \[(`.*)\] \[([^\[\]]+)\] \[([^\[\]]+)\]", str(error)
    ) or re.search(r"data: b['\"](`.*)['\"]\n([^\n]+)\n([^\n]+)", str(error))
    if found is None:
        return None
    # TensorFlow quotes an apostrophe.
    sentence, least, largest = (part.replace("\\'", "'") for part in found.groups())
    if "Received" in sentence:
        return sentence
    return f"{sentence}. Received: values from {least} to {largest}"


def _range(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Least and largest value; of no values what passes any check."""
    none = tf.equal(tf.size(values), 0)
    zero = tf.zeros([], values.dtype)
    return (
        tf.where(none, zero, tf.reduce_min(values)),
        tf.where(none, zero, tf.reduce_max(values)),
    )


def _images_in(given: Any, inputs: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The images of a batch, and what stands beside them."""
    if isinstance(given, list | tuple) and len(given) == 1:
        given = given[0]
    if not isinstance(given, dict):
        return given, {}
    extras = dict(given)
    for name in ("images", *inputs):
        if name in extras:
            return extras.pop(name), extras
    raise ValueError(
        "A dictionary of a batch must hold its `images`. "
        f"Received: {', '.join(sorted(extras))}"
    )


def _of_output(given: Any, output: str | None) -> Any:
    """Labels or weights, where those of several outputs may be given by name."""
    if not isinstance(given, dict):
        return given
    if output is None and len(given) == 1:
        return next(iter(given.values()))
    name = "logits" if output is None else output
    if name not in given:
        raise ValueError(
            f"A dictionary of labels or weights must hold those of {name!r}. "
            f"Received: {', '.join(sorted(given))}"
        )
    return given[name]


def _are_shares(targets: tf.Tensor) -> bool:
    return targets.shape.rank == 2 and targets.shape[1] != 1


def _largest(targets: tf.Tensor) -> tf.Tensor:
    return tf.argmax(targets, axis=1, output_type=tf.int32)


def _checked_weights(weights: Any) -> tf.Tensor | None:
    if weights is None:
        return None
    weights = tf.cast(weights, tf.float32)
    if weights.shape.rank == 2 and weights.shape[1] == 1:
        weights = tf.squeeze(weights, axis=1)
    if weights.shape.rank != 1:
        raise ValueError(
            "`sample_weight` must have shape (batch,). "
            f"Received: sample_weight.shape={weights.shape}"
        )
    return weights
