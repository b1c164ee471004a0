"""Which activations a centered softplus stands in for, and what that loses."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import keras
from keras import layers as kl

from tfrobust.core.keras_graph import read_graph

_BELOW = "its values below zero are lost"
_DIP = "its dip below zero is lost"
_CAP = "its cap is lost"

# Rectifiers by their name in Keras -> what is lost. Not here, and kept: what saturates
# on both sides (a gate or a final answer, not a rectifier) and what is linear.
_RECTIFIERS = {
    "celu": _BELOW,
    "elu": _BELOW,
    "gelu": _DIP,
    "hard_silu": _DIP,
    "hard_swish": _DIP,
    "leaky_relu": _BELOW,
    "mish": _DIP,
    "relu": "",
    "relu6": _CAP,
    "selu": _BELOW,
    "silu": _DIP,
    "softplus": "its value at zero is lost",
    "sparse_plus": "its exact zeros are lost",
    "squareplus": "its value at zero is lost",
    "swish": _DIP,
}
# Class names of the operations that stand for them in a graph.
_OPERATIONS = {
    "Celu": "celu",
    "Elu": "elu",
    "Gelu": "gelu",
    "HardSilu": "hard_silu",
    "LeakyRelu": "leaky_relu",
    "Mish": "mish",
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Silu": "silu",
    "Softplus": "softplus",
    "SparsePlus": "sparse_plus",
    "Squareplus": "squareplus",
}
_TRANSPARENT = (kl.Identity, kl.Permute, kl.Rescaling, kl.Reshape)
_TRANSPARENT_OPERATIONS = ("Add", "Multiply", "Reshape", "Subtract", "TrueDivide")
_PRODUCTS = (kl.Dot, kl.Multiply)
_PRODUCT_OPERATIONS = ("Einsum", "Matmul", "Multiply")


def name_of(function: Any) -> str:
    """What a function is called; `"linear"` of none."""
    if function is None:
        return "linear"
    return getattr(function, "__name__", type(function).__name__)


def loss_of_function(function: Any) -> str | None:
    """What is lost where a centered softplus stands for an activation function.

    Args:
        function: Of a layer, as `keras.activations.get` returns it.

    Returns:
        One clause, empty if nothing is lost as beta grows; `None` if the function is no
        rectifier of Keras's.

    Example:
        >>> import keras
        >>> loss_of_function(keras.activations.relu6)
        'its cap is lost'
        >>> loss_of_function(keras.activations.tanh) is None
        True
    """
    name = name_of(function)
    # By identity: a function of the user's may carry the same name.
    if name in _RECTIFIERS and function is keras.activations.get(name):
        return _RECTIFIERS[name]
    return None


def loss_of_layer(layer: Any) -> str | None:
    """The same for a layer or operation that is an activation alone.

    Example:
        >>> import keras
        >>> loss_of_layer(keras.layers.ReLU(6.0))
        'its cap is lost'
        >>> loss_of_layer(keras.layers.Flatten()) is None
        True
    """
    if type(layer) is kl.Activation:
        return loss_of_function(layer.activation)
    if type(layer) in (kl.ELU, kl.LeakyReLU, kl.PReLU):
        return _BELOW
    if type(layer) is kl.ReLU or is_operation(layer, "ReLU"):
        return _loss_of_relu(layer)
    if is_operation(layer, *_OPERATIONS):
        return _RECTIFIERS[_OPERATIONS[type(layer).__name__]]
    return None


def _loss_of_relu(layer: Any) -> str:
    lost = []
    if layer.max_value is not None:
        lost.append(_CAP)
    if layer.negative_slope:
        lost.append(_BELOW)
    if layer.threshold:
        lost.append("its threshold is lost")
    return ", ".join(lost)


def is_operation(operation: Any, *names: str) -> bool:
    """Whether a node of a graph is an operation of Keras's, no layer, of such a name.

    Example:
        >>> import keras
        >>> is_operation(keras.layers.Add(), "Add")
        False
    """
    return (
        not isinstance(operation, kl.Layer)
        and type(operation).__module__.split(".")[0] == "keras"
        and type(operation).__name__ in names
    )


def find_gates(network: keras.Model) -> set[str]:
    """Capped activations that a product multiplies with something.

    A squeeze-and-excitation block scales its channels by numbers between zero and one,
    which some networks make of a capped ReLU. A centered softplus has no cap, and the
    product would grow like a square.

    Args:
        network: A functional model; not the models nested in it.

    Returns:
        Names of layers and operations.

    Example:
        >>> import keras
        >>> inputs = keras.Input((3,))
        >>> gate = keras.layers.ReLU(6.0, name="gate")(inputs + 3.0)
        >>> outputs = keras.layers.Multiply()([inputs, gate * (1 / 6)])
        >>> find_gates(keras.Model(inputs, outputs))
        {'gate'}
    """
    operations = {operation.name: operation for operation in network.operations}
    users: dict[str, set[str]] = defaultdict(set)
    tensors: dict[str, int] = defaultdict(int)
    for name, calls in read_graph(network).calls.items():
        for call in calls:
            tensors[name] = max(tensors[name], len(call.inputs))
            for source in call.inputs:
                users[source[0]].add(name)
    capped = [name for name, node in operations.items() if _is_capped(node)]
    return {
        name for name in capped if _reaches_product(name, operations, users, tensors)
    }


def _is_capped(node: Any) -> bool:
    function = getattr(node, "activation", None)
    lost = loss_of_function(function) if callable(function) else loss_of_layer(node)
    return lost is not None and _CAP in lost


def _reaches_product(
    name: str,
    operations: dict[str, Any],
    users: dict[str, set[str]],
    tensors: dict[str, int],
) -> bool:
    pending, seen = list(users[name]), {name}
    while pending:
        name = pending.pop()
        if name in seen or name not in operations:
            continue
        seen.add(name)
        node, many = operations[name], tensors[name] > 1
        if type(node) in _PRODUCTS:
            return True
        if many and is_operation(node, *_PRODUCT_OPERATIONS):
            return True
        if type(node) in _TRANSPARENT or (
            not many and is_operation(node, *_TRANSPARENT_OPERATIONS)
        ):
            pending += users[name]
    return False
