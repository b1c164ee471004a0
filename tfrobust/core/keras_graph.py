"""A functional Keras network's graph, read from its configuration.

The configuration is the public form of the graph, and has all of it: operations that
are no layers, layers called twice, arguments however deep.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

Tensor = tuple[str, int, int]
"""Where a tensor comes from: the layer's name, which call of it, which output."""


class Call(NamedTuple):
    """One use of a layer in a network's graph.

    Attributes:
        inputs: The tensors among its arguments.
        training: Whether it was called with `training=True`.
    """

    inputs: list[Tensor]
    training: bool


class Graph(NamedTuple):
    """The graph of a network.

    Attributes:
        calls: Those of each layer or operation, by its name.
        inputs: The tensors that the network is given.
        outputs: The tensors that it answers with.
    """

    calls: dict[str, list[Call]]
    inputs: list[Tensor]
    outputs: list[Tensor]


def is_graph(layer: Any) -> bool:
    """Whether a layer is a model that computes what its graph of layers says.

    Not one of a class with a `call` of its own, though it may have a graph too.

    Args:
        layer: Any layer or model.

    Example:
        >>> is_graph(keras.Sequential([keras.Input((1,)), keras.layers.Flatten()]))
        True
        >>> is_graph(keras.layers.Flatten())
        False
    """
    if not isinstance(layer, keras.Model) or not getattr(layer, "inputs", None):
        return False
    owner = next(kind for kind in type(layer).__mro__ if "call" in vars(kind))
    return owner.__module__.split(".")[0] == "keras"


def read_graph(model: keras.Model) -> Graph:
    """The graph of a functional or sequential model.

    Of layers that another model has too, only the calls in this one.

    Args:
        model: One that `is_graph`.

    Example:
        >>> inputs = keras.Input((2,))
        >>> outputs = keras.layers.Dense(3, name="dense")(inputs)
        >>> graph = read_graph(keras.Model(inputs, outputs))
        >>> graph.outputs, graph.calls["dense"][0].inputs == graph.inputs
        ([('dense', 0, 0)], True)
    """
    plain = keras.Model(model.inputs, model.outputs)
    config = plain.get_config()
    calls = {
        entry["name"]: [_read_call(node) for node in entry["inbound_nodes"]]
        for entry in config["layers"]
    }
    # Of functional models in the model, Keras counts the calls from one here, and from
    # zero in the arguments of calls.
    nested = {layer.name for layer in plain.layers if isinstance(layer, type(plain))}
    outputs = [
        (name, call - (name in nested), output)
        for name, call, output in _ends(config["output_layers"])
    ]
    return Graph(calls, list(_ends(config["input_layers"])), outputs)


def _read_call(node: dict[str, Any]) -> Call:
    training = node["kwargs"].get("training")
    return Call(list(_tensors([node["args"], node["kwargs"]])), bool(training))


def _tensors(arguments: Any) -> Iterator[Tensor]:
    """Every tensor of the graph that arguments hold, however deep."""
    if isinstance(arguments, dict):
        if arguments.get("class_name") == "__keras_tensor__":
            name, call, output = arguments["config"]["keras_history"]
            yield name, call, output
            return
        arguments = list(arguments.values())
    if isinstance(arguments, (list, tuple)):
        for part in arguments:
            yield from _tensors(part)


def _ends(places: Any) -> Iterator[Tensor]:
    """A model's inputs or outputs, each written as a layer's name and two numbers."""
    if isinstance(places, dict):
        places = list(places.values())
    if places and isinstance(places[0], str):
        name, call, output = places
        yield name, call, output
    else:
        for part in places:
            yield from _ends(part)


def ends_in_softmax(network: keras.Model) -> bool:
    """Whether a network's last layer is a softmax, so that it returns no logits.

    Args:
        network: Any Keras model; where its last layer is one too, that one's counts.

    Example:
        >>> layers = [keras.Input((2,)), keras.layers.Dense(3, "softmax")]
        >>> ends_in_softmax(keras.Sequential([keras.Sequential(layers)]))
        True
    """
    last = network.layers[-1] if network.layers else None
    if isinstance(last, keras.Model):
        return ends_in_softmax(last)
    activation = getattr(last, "activation", None)
    return (
        isinstance(last, keras.layers.Softmax)
        or activation is keras.activations.softmax
    )
