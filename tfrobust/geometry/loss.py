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
from tfrobust.core.images import check_classes, check_finite, check_images, check_range
from tfrobust.core.precision import in_single_precision

_GRAPHS = GraphCache()


@dataclasses.dataclass
class _Graph:
    """A traced measure, and how many classes the model has, where a graph can tell."""

    function: Any
    classes: int | None


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
    **settings: Any,
) -> Any:
    """Measure a model's loss at a batch of images.

    Called eagerly, the measure is compiled once for each model, setting and image
    shape, and values are checked. Inside a `tf.function` it becomes a part of that
    graph, and only shapes and dtypes are checked.

    Args:
        model: A Keras model, a loaded SavedModel or a callable from float32 images
            `[B, ...]` to logits `[B, K]`, as attacks take it.
        measure: `measure(loss, images, labels, *tensors, **settings)`, traceable.
        images: Floating `[B, ...]`.
        labels: Integer `[B]`.
        *tensors: More tensors for the measure; a new value does not trace it anew.
        **settings: Hashable settings of the measure; a new value does.

    Returns:
        What the measure returns, a tensor or a structure of tensors.

    Raises:
        ValueError: If images, labels or the model are not as described.
    """
    images = tf.stop_gradient(check_images(images, any_rank=True))
    labels = check_classes("labels", labels, images)
    if not tf.executing_eagerly():
        with layers_named(model):
            loss = _Classifier(model).loss
            return measure(loss, images, labels, *tensors, **settings)
    check_finite("images", images)
    with layers_named(model):
        graph = _compiled(model, measure, images.shape[1:], tensors, settings)
    if images.shape[0] == 0:
        return tf.nest.map_structure(_empty, graph.function.structured_outputs)
    check_range("labels", labels, graph.classes or tf.int32.max)
    return graph.function(images, labels, *tensors)


class _Classifier:
    """A model as a loss; remembers the number of classes that it answered with.

    A Keras network in half precision is measured in single: its second derivatives, and
    those of a confident answer, would be rounding error.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.classifier = model, as_classifier(model)
        self.classes: int | None = None

    def loss(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Cross-entropy of each example, float32 `[B]`."""
        with in_single_precision(self.model):
            logits = self.classifier(images)
        self.classes = logits.shape[-1]
        return cross_entropy(logits, labels)


def _compiled(
    model: Any,
    measure: Callable[..., Any],
    image_shape: tf.TensorShape,
    tensors: tuple[tf.Tensor, ...],
    settings: dict[str, Any],
) -> _Graph:
    """The measure of this model as a graph for any batch size."""
    specs = tuple(tf.TensorSpec([None] * t.shape.rank, t.dtype) for t in tensors)
    key = (measure, tuple(sorted(settings.items())), tuple(image_shape), specs)

    def trace(reference: Callable[[], Any]) -> _Graph:
        return _trace(reference, measure, image_shape, specs, settings)

    graph: _Graph = _GRAPHS.get(model, key, trace)
    return graph


def _trace(
    reference: Callable[[], Any],
    measure: Callable[..., Any],
    image_shape: tf.TensorShape,
    specs: tuple[tf.TensorSpec, ...],
    settings: dict[str, Any],
) -> _Graph:
    class_counts = []

    def run(images: tf.Tensor, labels: tf.Tensor, *tensors: tf.Tensor) -> Any:
        classifier = _Classifier(reference())
        result = measure(classifier.loss, images, labels, *tensors, **settings)
        class_counts.append(classifier.classes)
        return result

    function = tf.function(run, autograph=False).get_concrete_function(
        tf.TensorSpec([None, *image_shape], tf.float32),
        tf.TensorSpec([None], tf.int32),
        *specs,
    )
    return _Graph(function, class_counts[-1])


def _empty(output: tf.Tensor) -> tf.Tensor:
    """What a measure says of no images: nothing, in the right shape."""
    return tf.zeros([size or 0 for size in output.shape], output.dtype)
