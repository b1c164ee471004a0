"""Whether a model has the derivatives that are asked of it, and what lacks them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfrobust.core.flow import Flow, Step
from tfrobust.layers import find_layers

_FIRST = "differentiable in its images"
_SECOND = "twice differentiable"
_NO_DERIVATIVE = "of which TensorFlow has no derivative"


class Missing(NamedTuple):
    """What an error over a derivative that a model lacks is about.

    Attributes:
        need: What the model must be.
        step: What lacks the derivative.
        reason: What is the matter with it.
    """

    need: str
    step: Step
    reason: str


def not_differentiable(need: str, step: Step, reason: str) -> ValueError:
    """The error that a model lacks a derivative, which names the operation.

    A plain `ValueError`, the only one that comes out as such of a function of the
    user's that AutoGraph has rewritten. `layers_named` says more of it.

    Example:
        >>> step = Step("Round", "network/rounding/Round", "Round", [], [])
        >>> str(not_differentiable("smooth", step, "which is not"))
        "`model` must be smooth. Received: the operation Round at \
'network/rounding/Round', which is not"
    """
    error = ValueError(
        f"`model` must be {need}. Received: the operation {step.kind} at "
        f"{_plain(step.name)!r}, {reason}"
    )
    vars(error)["missing"] = Missing(need, step, reason)
    return error


@contextlib.contextmanager
def layers_named(model: Any) -> Iterator[None]:
    """Errors of a derivative that a model lacks name the layer, where it is Keras's.

    Args:
        model: Anything.

    Example:
        >>> step = Step("Round", "network/rounding/Round", "Round", [], [])
        >>> layers = [keras.Input((1,)), keras.layers.Flatten(name="rounding")]
        >>> with layers_named(keras.Sequential(layers)):
        ...     raise not_differentiable("smooth", step, "which is not")
        Traceback (most recent call last):
        ...
        ValueError: `model` must be smooth. Received: the layer 'rounding' (Flatten) \
with the operation Round, which is not
    """
    try:
        yield
    except ValueError as error:
        missing = vars(error).get("missing")
        layer = None if missing is None else layer_at(model, missing.step.name)
        if missing is None or layer is None:
            raise
        raise ValueError(
            f"`model` must be {missing.need}. Received: the layer {layer.name!r} "
            f"({type(layer).__name__}) with the operation {missing.step.kind}, "
            f"{missing.reason}"
        ) from error


def layer_at(model: Any, name: str) -> keras.layers.Layer | None:
    """The innermost layer of a Keras model that made an operation, by its name.

    Args:
        model: Anything.
        name: The operation's, as in a graph that called the model.

    Returns:
        `None` if the model is not Keras's or none of its layers is in the name.

    Example:
        >>> layers = [keras.Input((1,)), keras.layers.Flatten(name="flat")]
        >>> network = keras.Sequential(layers, name="network")
        >>> layer_at(network, "gradient_tape/network_2/flat_1/Reshape").name
        'flat'
    """
    if not isinstance(model, keras.layers.Layer):
        return None
    layers = {layer.name: layer for layer in find_layers(model, keras.layers.Layer)}
    for part in reversed(name.split("/")[:-1]):
        # A layer that is called again gets a number behind its name.
        for known in (part, re.sub(r"_\d+$", "", part)):
            if known in layers:
                return layers[known]
    return None


def require_gradient(images: Any, outputs: Any) -> None:
    """Raises if a derivative on the way is one that TensorFlow silently leaves out.

    Eagerly there is no graph to look at, and nothing is done.

    Args:
        images: A tensor.
        outputs: A tensor computed from it.

    Raises:
        ValueError: If there is one.
    """
    _require(images, outputs, _FIRST, variables=False)


def require_second_derivative(
    images: Any, gradient: Any, *, variables: bool = False
) -> None:
    """Raises if the derivative of a gradient would lack a term.

    To be called where a graph is traced: it reads the operations from the images to
    their gradient. Eagerly there is no graph to look at, and nothing is done. A
    gradient written in Python (`tf.custom_gradient`) is taken at its word.

    Args:
        images: A tensor.
        gradient: Some gradient in it.
        variables: Whether the derivative in the variables is to be whole, too.

    Raises:
        ValueError: If it would.

    Example:
        >>> @tf.function
        ... def slope(x):
        ...     with tf.GradientTape() as tape:
        ...         tape.watch(x)
        ...         values = tf.nn.fractional_max_pool(x, [1, 1.5, 1.5, 1])[0]
        ...     gradient = tape.gradient(values, x)
        ...     require_second_derivative(x, gradient)
        ...     return gradient
        >>> slope(tf.ones([1, 4, 4, 1])) # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: ... `model` must be twice differentiable. Received: ...
    """
    _require(images, gradient, _SECOND, variables=variables)


def require_second_derivative_of(
    function: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor
) -> None:
    """The same where nothing is traced, of a function from images to their gradient."""
    spec = tf.TensorSpec(images.shape, images.dtype)
    graph = tf.function(function, autograph=False).get_concrete_function(spec).graph
    _require(graph.inputs[0], graph.outputs[0], _SECOND, variables=False)


def missing_gradient(
    function: Callable[[tf.Tensor], Any], images: tf.Tensor
) -> ValueError:
    """Why a function has no gradient path to its images, as an error to raise.

    Args:
        function: What has none. It is traced once more.
        images: A tensor.

    Example:
        >>> error = missing_gradient(tf.round, tf.ones([2]))
        >>> str(error) # doctest: +ELLIPSIS
        "`model` must be differentiable in its images. Received: the operation Round...
    """
    spec = tf.TensorSpec(images.shape, images.dtype)
    graph = tf.function(function, autograph=False).get_concrete_function(spec).graph
    return _disconnected(graph, graph.inputs[0], graph.outputs)


def missing_path(images: Any, outputs: Any) -> ValueError:
    """The same of tensors that a function has made, told best where a graph is traced.

    Args:
        images: A tensor.
        outputs: A tensor computed from it, without a gradient path to it.
    """
    graph = getattr(outputs, "graph", None)
    return _disconnected(graph, images, [outputs])


def _disconnected(graph: Any, images: Any, outputs: list[Any]) -> ValueError:
    if graph is not None and getattr(images, "graph", None) is graph:
        flow = Flow(graph)
        step = flow.lost([images], outputs)
        if step is not None:
            return not_differentiable(_FIRST, step, _NO_DERIVATIVE)
        step = flow.broken([images], outputs)
        if step is not None:
            return not_differentiable(_FIRST, step, "through which no gradient comes")
    return ValueError(
        f"`model` must be {_FIRST}. Received: a model whose logits have no gradient "
        "path to them"
    )


def _require(images: Any, outputs: Any, need: str, variables: bool) -> None:
    graph = getattr(outputs, "graph", None)
    if graph is None:
        return
    sources = [images]
    if getattr(images, "graph", None) is not graph:
        captures = getattr(graph, "captures", ())
        sources = [inner for outer, inner in captures if outer is images]
    flow = Flow(graph)
    step = flow.lost(sources, [outputs], variables)
    if step is not None:
        raise not_differentiable(need, step, _NO_DERIVATIVE)
    step = flow.stopped_moments(sources, [outputs]) if need == _SECOND else None
    if step is not None:
        reason = (
            "of a variance (tf.nn.moments) that was traced with its mean held fixed"
        )
        raise not_differentiable(need, step, reason)


def _plain(name: str) -> str:
    """The name without the calls that lead to it."""
    return name.rpartition("#")[2].lstrip("0123456789/") if "#" in name else name
