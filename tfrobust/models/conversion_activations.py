"""Which activations a centered softplus stands in for, and what that loses."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import layers as kl

_BELOW = "its values below zero are lost"
_DIP = "its dip below zero is lost"

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
    "relu6": "",
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


class Rectifier(NamedTuple):
    """A rectifier that a centered softplus stands in for.

    Attributes:
        lost: One clause on what differs however large beta is; empty if nothing does.
        max_value: Its cap, if it has one.
    """

    lost: str = ""
    max_value: float | None = None


def name_of(function: Any) -> str:
    """What a function is called; `"linear"` of none."""
    if function is None:
        return "linear"
    return getattr(function, "__name__", type(function).__name__)


def rectifier_of_function(function: Any) -> Rectifier | None:
    """The rectifier that an activation function is, if it is one of Keras's.

    Args:
        function: Of a layer, as `keras.activations.get` returns it.

    Example:
        >>> import keras
        >>> rectifier_of_function(keras.activations.relu6)
        Rectifier(lost='', max_value=6.0)
        >>> rectifier_of_function(keras.activations.tanh) is None
        True
    """
    name = name_of(function)
    # By identity: a function of the user's may carry the same name.
    if name in _RECTIFIERS and function is keras.activations.get(name):
        return _named(name)
    return None


def rectifier_of_layer(layer: Any) -> Rectifier | None:
    """The same for a layer or operation that is an activation alone.

    Example:
        >>> import keras
        >>> rectifier_of_layer(keras.layers.LeakyReLU())
        Rectifier(lost='its values below zero are lost', max_value=None)
        >>> rectifier_of_layer(keras.layers.Flatten()) is None
        True
    """
    if type(layer) is kl.Activation:
        return rectifier_of_function(layer.activation)
    if type(layer) in (kl.ELU, kl.LeakyReLU, kl.PReLU):
        return Rectifier(_BELOW)
    if type(layer) is kl.ReLU or is_operation(layer, "ReLU"):
        return _relu(layer)
    if is_operation(layer, *_OPERATIONS):
        return _named(_OPERATIONS[type(layer).__name__])
    return None


def _named(name: str) -> Rectifier:
    return Rectifier(_RECTIFIERS[name], 6.0 if name == "relu6" else None)


def _relu(layer: Any) -> Rectifier | None:
    lost = [_BELOW] if layer.negative_slope else []
    lost += ["its threshold is lost"] if layer.threshold else []
    cap = layer.max_value
    if cap is not None and cap <= 0:
        return None  # It is constant.
    return Rectifier(", ".join(lost), None if cap is None else float(cap))


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
