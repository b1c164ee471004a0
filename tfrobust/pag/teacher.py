"""Robust input-gradient distillation (RIGD): directions from a teacher's gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfrobust.core.gradients import class_gradients, linearize
from tfrobust.layers import network_of
from tfrobust.pag.base import Directions
from tfrobust.pag.registry import register


class Teacher(Directions):
    """`grad_x f*(x)_t`, the class gradients of another, robust network.

    Computed in the step: one forward pass of the teacher, in inference mode, and one
    pass back for each requested class. The teacher is neither trained nor changed.

    Args:
        network: A built Keras classifier from images `[B,H,W,C]` to logits `[B,K]`,
            or a `RobustModel` around one.

    Raises:
        ValueError: If the network's shapes are not known, it does not end in logits
            `[B,K]`, or has fewer than 2 classes.

    Reference: Ganz et al. 2023 (PAG), section 4.1.

    Example:
        >>> from tfrobust import models
        >>> teacher = Teacher(models.MLP((2,), classes=3, hidden=(4,)))
        >>> teacher(tf.zeros([5, 2]), tf.zeros([5, 1], tf.int32)).shape
        TensorShape([5, 1, 2])
    """

    def __init__(self, network: keras.Model) -> None:
        network = network_of(network)
        images = getattr(network, "input_shape", None)
        logits = getattr(network, "output_shape", None)
        if not isinstance(images, tuple) or not isinstance(logits, tuple):
            raise ValueError(
                "`network` must be a built functional or sequential model, whose "
                f"shapes are known. Received: {type(network).__name__}"
            )
        if len(logits) != 2 or (logits[1] or 0) < 2:
            raise ValueError(
                "`network` must end in logits (batch, classes) of at least 2 classes. "
                f"Received: output_shape={logits}"
            )
        self.network = network
        self.image_shape, self.classes = images[1:], logits[1]

    def __call__(
        self,
        images: tf.Tensor,
        chosen: tf.Tensor,
        extras: Mapping[str, tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Directions `[B,k,H,W,C]`; see `Directions`."""
        _, pull = linearize(self.network, images)
        return class_gradients(pull, chosen, self.classes)


@register("rigd", "the gradients of a teacher")
def _rigd(images: Any, labels: Any, classes: int, *, teacher: Any) -> Directions:
    """A teacher knows its directions without any images."""
    return Teacher(teacher)


# It looks at none of them.
_rigd.takes_bytes = True  # type: ignore[attr-defined]
