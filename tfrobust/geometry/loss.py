"""The loss whose geometry is measured, and the graph that measures it.

A measure is a function of a loss, images and labels that can be traced. `evaluate`
turns any classifier into that loss, checks what the caller gave, and compiles each
measure once for each model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrobust.core.classifier import as_classifier, log_odds
from tfrobust.core.differentiable import layers_named
from tfrobust.core.graphs import GraphCache
from tfrobust.core.images import check_classes, check_range, pixels_in
from tfrobust.core.pixels import Bounds
from tfrobust.core.precision import in_single_precision

# Images on which a doubtful model is asked whether it answers with probabilities.
_LOOKED_AT = 8

_GRAPHS = GraphCache()


@dataclasses.dataclass
class _Graph:
    """A traced measure, and what was seen of the model meanwhile.

    Attributes:
        function: The concrete function.
        classes: How many the model has, where a graph can tell.
        is_doubtful: Whether the model may answer with probabilities, and has not yet
            been asked.
    """

    function: Any
    classes: int | None
    is_doubtful: bool


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy of each example, with derivatives that do not cancel.

    Computed as `softplus(z)`, where z is the log-odds of all other classes together
    against the label. The usual `p - y` rounds to zero once `1 - p` does, from a margin
    of 17 on; here the gradient keeps its relative accuracy, and the Hessian is accurate
    relative to the gradient, down to the smallest float32, a margin of about 87.

    Args:
        logits: float32 `[B, K]`, K at least 2.
        labels: int32 `[B]`, in [0, K).

    Returns:
        float32 `[B]`.

    Example:
        >>> loss = cross_entropy(tf.constant([[0.0, 0.0]]), tf.constant([1]))
        >>> round(float(loss[0]), 4)
        0.6931
    """
    return tf.nn.softplus(log_odds(logits, labels))


def evaluate(
    model: Any,
    measure: Callable[..., Any],
    images: Any,
    labels: Any,
    *tensors: tf.Tensor,
    bounds: Any = None,
    **settings: Any,
) -> Any:
    """Measure a model's loss at a batch of images.

    The loss is a function of images in [0, 1], whatever the model itself takes. Called
    eagerly, the measure is compiled once for each model, setting and image shape, and
    values are checked. Inside a `tf.function` it becomes a part of that graph, and only
    shapes and dtypes are checked.

    Args:
        model: A Keras model, a loaded SavedModel or a callable from float32 images
            `[B, ...]` to logits `[B, K]`, as attacks take it.
        measure: `measure(loss, images, labels, *tensors, **settings)`, traceable.
        images: `[B, ...]` within the bounds.
        labels: As for an attack's call.
        *tensors: More tensors for the measure; a new value does not trace it anew.
        bounds: The range of the pixels, as for an attack's call.
        **settings: Hashable settings of the measure; a new value does.

    Returns:
        What the measure returns, a tensor or a structure of tensors.

    Raises:
        ValueError: If images, labels or the model are not as described.
    """
    pixels = pixels_in(images, model, bounds, any_rank=True)
    images = tf.stop_gradient(pixels.images)
    labels = check_classes("labels", labels, images)
    if not tf.executing_eagerly():
        with layers_named(model):
            loss = _Classifier(model, pixels.bounds).loss
            return measure(loss, images, labels, *tensors, **settings)
    shape = images.shape[1:]
    with layers_named(model):
        graph = _compiled(model, pixels.bounds, measure, shape, tensors, settings)
    if images.shape[0] == 0:
        return tf.nest.map_structure(_empty, graph.function.structured_outputs)
    check_range("labels", labels, graph.classes or tf.int32.max)
    if graph.is_doubtful:
        as_classifier(model, pixels.bounds)(images[:_LOOKED_AT])  # or an error
        graph.is_doubtful = False
    return graph.function(images, labels, *tensors)


class _Classifier:
    """A model as a loss; remembers the number of classes that it answered with.

    A Keras network in half precision is measured in single: its second derivatives, and
    those of a confident answer, would be rounding error.
    """

    def __init__(self, model: Any, bounds: Bounds) -> None:
        self.model, self.classifier = model, as_classifier(model, bounds)
        self.classes: int | None = None

    def loss(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Cross-entropy of each example, float32 `[B]`."""
        with in_single_precision(self.model):
            logits = self.classifier(images)
        self.classes = logits.shape[-1]
        return cross_entropy(logits, labels)


def _compiled(
    model: Any,
    bounds: Bounds,
    measure: Callable[..., Any],
    image_shape: tf.TensorShape,
    tensors: tuple[tf.Tensor, ...],
    settings: dict[str, Any],
) -> _Graph:
    """The measure of this model as a graph for any batch size."""
    specs = tuple(tf.TensorSpec([None] * t.shape.rank, t.dtype) for t in tensors)
    key = (bounds, measure, tuple(sorted(settings.items())), tuple(image_shape), specs)

    def trace(reference: Callable[[], Any]) -> _Graph:
        return _trace(reference, bounds, measure, image_shape, specs, settings)

    graph: _Graph = _GRAPHS.get(model, key, trace)
    return graph


def _trace(
    reference: Callable[[], Any],
    bounds: Bounds,
    measure: Callable[..., Any],
    image_shape: tf.TensorShape,
    specs: tuple[tf.TensorSpec, ...],
    settings: dict[str, Any],
) -> _Graph:
    seen = []

    def run(images: tf.Tensor, labels: tf.Tensor, *tensors: tf.Tensor) -> Any:
        classifier = _Classifier(reference(), bounds)
        result = measure(classifier.loss, images, labels, *tensors, **settings)
        seen.append((classifier.classes, classifier.classifier.is_doubtful))
        return result

    function = tf.function(run, autograph=False).get_concrete_function(
        tf.TensorSpec([None, *image_shape], tf.float32),
        tf.TensorSpec([None], tf.int32),
        *specs,
    )
    return _Graph(function, *seen[-1])


def _empty(output: tf.Tensor) -> tf.Tensor:
    """What a measure says of no images: nothing, in the right shape."""
    return tf.zeros([size or 0 for size in output.shape], output.dtype)
