"""Robust input-gradient distillation (RIGD): directions from a teacher's gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfrobust.core.answers import shape_of_output
from tfrobust.core.classifier import as_classifier
from tfrobust.core.gradients import class_gradients, linearize
from tfrobust.core.graphs import GraphCache
from tfrobust.core.pixels import Bounds, bounds_of
from tfrobust.layers import network_of
from tfrobust.pag.base import Directions
from tfrobust.pag.registry import register

_GRAPHS = GraphCache()


class Teacher(Directions):
    """`grad_x f*(x)_t`, the class gradients of another, robust network.

    Computed in the step: one forward pass of the teacher, in inference mode, and one
    pass back for each requested class. The teacher is neither trained nor changed.
    Called eagerly it is compiled, once for each network and shape.

    Args:
        network: A built Keras classifier of images `[B,H,W,C]`, or a `RobustModel` or
            `models.Classifier` around one. It may end in logits or a softmax, or have
            one output for two classes; its gradients are those of the logits.
        bounds: The range of its pixels, as for an attack's call. The directions are for
            images in [0, 1] whatever it is.

    Raises:
        ValueError: If the network's shapes are not known, or it does not answer with
            one number for each class, or with a single one.

    Reference: Ganz et al. 2023 (PAG), section 4.1.

    Example:
        >>> from tfrobust import models
        >>> teacher = Teacher(models.MLP((2,), classes=3, hidden=(4,)))
        >>> teacher(tf.zeros([5, 2]), tf.zeros([5, 1], tf.int32)).shape
        TensorShape([5, 1, 2])
    """

    def __init__(self, network: keras.Model, *, bounds: Any = None) -> None:
        model, network = network, network_of(network)
        images = getattr(network, "input_shape", None)
        if not isinstance(images, tuple):
            raise ValueError(
                "`network` must be a built functional or sequential model, whose "
                f"shapes are known. Received: {type(network).__name__}"
            )
        logits = shape_of_output(network, getattr(model, "output_name", None)) or ()
        if len(logits) != 2 or not logits[1]:
            raise ValueError(
                "`network` must end in logits or probabilities (batch, classes). "
                f"Received: output_shape={logits}"
            )
        self.network, self._model = network, model
        self.bounds: Bounds = bounds_of(model, bounds)
        # Of one number for two classes the logits are two.
        self.image_shape, self.classes = images[1:], max(logits[1], 2)

    def __call__(
        self,
        images: tf.Tensor,
        chosen: tf.Tensor,
        extras: Mapping[str, tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Directions `[B,k,H,W,C]`; see `Directions`."""
        if not tf.executing_eagerly():
            return _gradients(self._model, self.bounds, self.classes, images, chosen)
        images, chosen = tf.convert_to_tensor(images), tf.convert_to_tensor(chosen)
        specs = tuple(
            tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in (images, chosen)
        )
        bounds, classes = self.bounds, self.classes

        def trace(reference: Callable[[], Any]) -> Any:
            def gradients(images: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
                return _gradients(reference(), bounds, classes, images, chosen)

            return tf.function(gradients, autograph=False).get_concrete_function(*specs)

        return _GRAPHS.get(self._model, (bounds, specs), trace)(images, chosen)


def _gradients(
    model: Any, bounds: Bounds, classes: int, images: tf.Tensor, chosen: tf.Tensor
) -> tf.Tensor:
    _, pull = linearize(as_classifier(model, bounds), images)
    return class_gradients(pull, chosen, classes)


@register("rigd", "the gradients of a teacher")
def _rigd(images: Any, labels: Any, classes: int, *, teacher: Any) -> Directions:
    """A teacher knows its directions without any images."""
    return Teacher(teacher)


# It looks at none of them.
_rigd.takes_bytes = True  # type: ignore[attr-defined]
