"""Which part of a model answers at random, or by the batch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from tfrobust.core.differentiable import layer_at
from tfrobust.core.keras_graph import is_graph
from tfrobust.layers import network_of

# As much as two answers of the same arithmetic differ, as a share of the largest.
_SAME = 1e-4
_RANDOM = ("Random", "Multinomial", "ParameterizedTruncatedNormal")
# Of the names in functions, which may name each other.
_LOOKED_AT = 200
_NO_DRAW = ("RandomGet", "RandomShuffleDataset")

Enter = Callable[[Any], Any]
"""Maps images to what a network in a network is given for them."""

Differ = Callable[[keras.Model, Enter], tuple[list[np.ndarray], list[np.ndarray]]]
"""Calls a network of many outputs twice, on what images become, and returns both times
all of its outputs, which should be equal."""


def networks_in(model: Any) -> list[keras.Model]:
    """The Keras models that a model is, or that a function has at hand.

    Example:
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> networks_in(lambda x: network(x)) == [network]
        True
    """
    found: dict[int, keras.Model] = {}
    seen: set[int] = set()
    waiting = [model]
    while waiting and len(seen) < _LOOKED_AT:
        part = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, keras.Model):
            network = network_of(part)
            found[id(network)] = network
        else:
            waiting += _at_hand(part, getattr(model, "__module__", None))
    return list(found.values())


def _at_hand(part: Any, module: str | None) -> list[Any]:
    """What a function of the same module as the model can call."""
    if isinstance(part, functools.partial):
        return [part.func, *part.args, *part.keywords.values()]
    if inspect.ismethod(part):
        return [part.__self__]
    if not inspect.isfunction(part) or part.__module__ != module:
        return []
    try:
        names = inspect.getclosurevars(part)
    except ValueError:  # A cell that holds nothing yet.
        return []
    return [*names.nonlocals.values(), *names.globals.values()]


def differing_layer(
    network: Any, compare: Differ, enter: Enter = lambda images: images
) -> Any | None:
    """The first layer of a functional network whose outputs differ.

    The network is copied, as looking into it would leave traces in it.

    Args:
        network: Any Keras model.
        compare: Calls a network of many outputs twice.
        enter: What images become before they get to the network.

    Returns:
        The layer, the innermost one where networks are nested; `None` where none is
        found, as of a network that is not functional.
    """
    if not isinstance(network, keras.Model) or not is_graph(network):
        return None
    calls: list[tuple[Any, Any, Any]] = []

    def watched(layer: Any, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        calls.append((layer, args, result))
        return result

    try:
        plain = keras.Model(network.inputs, network.outputs)
        copy = keras.models.clone_model(
            plain, clone_function=_cloned, call_function=watched, recursive=True
        )
        copy.set_weights(plain.get_weights())
        outer = {id(layer) for layer in copy.layers}
        calls = [call for call in calls if id(call[0]) in outer]
        tensors = [(layer, args, t) for layer, args, t in calls if _is_one(t)]
        wide = keras.Model(copy.inputs, [tensor for *_, tensor in tensors])
        first, second = compare(wide, enter)
    except Exception:  # Of a layer of somebody's own, which may raise anything.
        return None
    for (layer, given, _), one, other in zip(tensors, first, second, strict=True):
        if differ(one, other):
            own = network.get_layer(layer.name)
            if not given or not _is_one(given[0]):
                return own
            before = keras.Model(copy.inputs, given[0])
            # None where the layer is no network.
            inner = differing_layer(own, compare, _after(before, enter))
            return own if inner is None else inner
    return None


def _after(before: keras.Model, enter: Enter) -> Enter:
    return lambda images: before(enter(images), training=False)


def _cloned(layer: Any) -> Any:
    """A layer of the same settings, whether its class is registered or not."""
    return type(layer).from_config(layer.get_config())


def differ(one: Any, other: Any, least: float = _SAME) -> bool:
    """Whether two arrays differ by more than rounding, at least in some place.

    Example:
        >>> differ([1.0, 2.0], [1.0, 2.0 + 1e-6]), differ([1.0], [1.1])
        (False, True)
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.shape != other.shape:
        return True
    if not one.size:
        return False
    scale = max(float(np.max(np.abs(one))), 1e-30)
    return not bool(np.max(np.abs(one - other)) <= least * scale)


def random_operations(graph: Any) -> list[tuple[str, str]]:
    """Types and names of what draws at random in a traced graph, functions included.

    Example:
        >>> import tensorflow as tf
        >>> graph = tf.function(lambda x: x + tf.random.normal([2])
        ...     ).get_concrete_function(tf.TensorSpec([2]))
        >>> [kind for kind, _ in random_operations(graph.graph)]
        ['RandomStandardNormal']
    """
    return [
        (node.op, node.name)
        for node in _nodes(graph)
        if any(part in node.op for part in _RANDOM)
        and not any(part in node.op for part in _NO_DRAW)
        and not node.op.startswith("StatelessRandomGet")
    ]


def resizes_at_random(graph: Any) -> bool:
    """Whether a size that an image is brought to is drawn at random.

    Example:
        >>> import tensorflow as tf
        >>> def resized(x):
        ...     size = tf.random.uniform([2], 4, 8, tf.int32)
        ...     return tf.image.resize(x, size)
        >>> spec = tf.TensorSpec([1, 4, 4, 1])
        >>> resizes_at_random(tf.function(resized).get_concrete_function(spec).graph)
        True
    """
    drawn: set[str] = set()
    for operation in graph.get_operations():
        kinds = operation.type
        sources = {tensor.op.name for tensor in operation.inputs}
        if any(part in kinds for part in _RANDOM) or sources & drawn:
            # What the images flow through may be random by noise; only a size is asked.
            if "Resize" in kinds and operation.inputs[1].op.name in drawn:
                return True
            drawn.add(operation.name)
    return False


def random_part(model: Any, graph: Any, compare: Differ) -> str:
    """What in a model draws at random, in words; empty where it is not found.

    Args:
        model: As for an attack's call.
        graph: A traced one of it.
        compare: Calls a network twice on the same images.
    """
    for network in networks_in(model):
        layer = differing_layer(network, compare)
        if layer is not None:
            return _words(layer, graph)
    operations = random_operations(graph)
    if not operations:
        return ""
    kind, name = operations[0]
    layers = (layer_at(network, name) for network in networks_in(model))
    layer = next((layer for layer in layers if layer is not None), None)
    if layer is not None:
        return _words(layer, graph)
    if "dropout" in name.lower():
        return f"dropout with training left on, in {name.rpartition('/')[0]!r}"
    if resizes_at_random(graph):
        return f"a random resize, by {kind} in {name!r}"
    return f"the operation {kind} in {name!r}"


def batch_part(model: Any, compare: Differ) -> str:
    """What in a model depends on the batch, in words; empty where it is not found."""
    for network in networks_in(model):
        layer = differing_layer(network, compare)
        kind = type(layer).__name__
        if layer is not None and "Normalization" in kind:
            return f"the layer {layer.name!r} ({kind}) uses the statistics of the batch"
        if layer is not None:
            return f"the layer {layer.name!r} ({kind})"
        for known in _leaves(network):
            if "BatchNormalization" in type(known).__name__:
                return (
                    f"perhaps the layer {known.name!r} ({type(known).__name__}) uses "
                    "the statistics of the batch"
                )
    return ""


def batch_moments(graph: Any) -> str:
    """The scope in a traced graph where batch statistics are computed, or nothing."""
    names = [node.name for node in _nodes(graph) if "/moments/" in node.name]
    fused = [
        node.name
        for node in _nodes(graph)
        if node.op.startswith("FusedBatchNorm") and node.attr["is_training"].b
    ]
    found = [*fused, *names]
    return found[0].partition("/moments/")[0] if found else ""


def _words(layer: Any, graph: Any) -> str:
    kind = type(layer).__name__
    words = f"the layer {layer.name!r} ({kind})"
    if "Dropout" in kind or "GaussianNoise" in kind:
        return f"{words} with training left on"
    return f"{words}, a random resize" if resizes_at_random(graph) else words


def _leaves(network: keras.Model) -> Iterator[Any]:
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer


def _is_one(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _nodes(graph: Any) -> Iterator[Any]:
    definition = graph.as_graph_def()
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def
