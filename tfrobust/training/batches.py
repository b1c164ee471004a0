"""What a batch of training or evaluation holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfrobust.core.images import check_classes, check_images


class TrainingBatch(NamedTuple):
    """The parts of a batch.

    Attributes:
        images: float32 `[B, ...]`.
        labels: int32 `[B]`.
        weights: float32 `[B]`, or `None` where every example weighs the same.
        extras: What else the batch says of each image, `[B, ...]` by name.
    """

    images: tf.Tensor
    labels: tf.Tensor
    weights: tf.Tensor | None
    extras: dict[str, tf.Tensor]


def unpack(data: Any) -> TrainingBatch:
    """The parts of what Keras hands to a step, checked.

    Args:
        data: `(images, labels)` or `(images, labels, weights)`, where a dictionary may
            stand for the images that holds them as `images`, and extras beside them.

    Raises:
        ValueError: If a part is missing, or of a wrong type or shape.

    Example:
        >>> batch = unpack(({"images": [[0.5]], "index": [7]}, [0]))
        >>> batch.images.shape, batch.weights, batch.extras
        (TensorShape([1, 1]), None, {'index': [7]})
    """
    images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    extras = dict(images) if isinstance(images, dict) else {"images": images}
    if "images" not in extras:
        raise ValueError(
            "A dictionary of a batch must hold its `images`. "
            f"Received: {', '.join(sorted(extras))}"
        )
    images = extras.pop("images")
    if labels is None:
        raise ValueError(
            "Training and evaluation need batches of (images, labels). "
            "Received: images alone"
        )
    images = check_images(images, pixels=True, any_rank=True)
    labels = check_classes("labels", labels, images)
    return TrainingBatch(images, labels, _checked_weights(weights), extras)


def _checked_weights(weights: Any) -> tf.Tensor | None:
    if weights is None:
        return None
    weights = tf.cast(weights, tf.float32)
    if weights.shape.rank != 1:
        raise ValueError(
            "`sample_weight` must have shape (batch,). "
            f"Received: sample_weight.shape={weights.shape}"
        )
    return weights
