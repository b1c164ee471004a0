"""Derivatives of networks that compute in half precision, as good as in single."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfrobust.layers import network_of

# Above 1, as gradients in pixels are smaller than those in logits, and far below
# float16's largest number, as on the way they may be larger.
HEADROOM = 32.0
_HALVES = ("float16", "bfloat16")
_BIAS, _DIGITS, _LARGEST = 127, 23, 220  # of float32's exponent, and how far it may go

# Networks that are in single precision: how often, and what ends it.
_ENTERED: dict[int, tuple[int, contextlib.ExitStack]] = {}
_LOCK = threading.Lock()


def powers(cotangents: tf.Tensor) -> tf.Tensor:
    """Powers of two that bring each example's cotangents within [32, 64).

    What they are multiplied by before a pass back through a network in half precision,
    where they may be too small for float16, and the gradients divided by after it. In
    float32 that alters no bit, short of underflow.

    Args:
        cotangents: float32 `[B,K]`.

    Returns:
        float32 `[B,1]`; at most 2**98, which is that of cotangents of 0.

    Example:
        >>> powers(tf.constant([[3.0, -5.0], [0.0, 2.0**-20]])).numpy().ravel().tolist()
        [8.0, 33554432.0]
    """
    largest = tf.reduce_max(tf.abs(cotangents), axis=-1, keepdims=True)
    exponent = tf.bitwise.right_shift(tf.bitcast(largest, tf.int32), _DIGITS)
    inverse = tf.clip_by_value(2 * _BIAS - exponent, 1, _LARGEST)
    power = tf.bitcast(tf.bitwise.left_shift(inverse, _DIGITS), tf.float32)
    return tf.stop_gradient(power * HEADROOM)


@contextlib.contextmanager
def in_single_precision(model: Any) -> Iterator[None]:
    """Layers of a Keras model that compute in half precision do so in float32.

    For as long as a call of the model is traced: its graph is that of the float32
    network with the same weights, of which the model rounds every step. Second
    derivatives in half precision are mostly rounding error. Nothing
    changes of what is not Keras's, nor of the mean and variance that a `Normalization`
    keeps rounded.

    Args:
        model: Anything.

    Example:
        >>> dense = keras.layers.Dense(3, dtype="mixed_float16")
        >>> network = keras.Sequential([keras.Input((2,)), dense])
        >>> with in_single_precision(network):
        ...     print(dense.compute_dtype)
        float32
        >>> dense.compute_dtype
        'float16'
    """
    network = network_of(model)
    if not isinstance(network, keras.layers.Layer):
        yield
        return
    # No lock is held within: threads that trace may wait for each other there.
    with _LOCK:
        if id(network) not in _ENTERED:
            _ENTERED[id(network)] = (0, _widen_all(network))
        count, restore = _ENTERED[id(network)]
        _ENTERED[id(network)] = (count + 1, restore)
    try:
        yield
    finally:
        with _LOCK:
            count, restore = _ENTERED.pop(id(network))
            if count == 1:
                restore.close()
            else:
                _ENTERED[id(network)] = (count - 1, restore)


def _widen_all(network: keras.layers.Layer) -> contextlib.ExitStack:
    """Gives what computes in half precision float32; closed, it takes it back."""
    layers = list(_layers(network))
    restore = contextlib.ExitStack()
    for layer in layers:
        if layer.compute_dtype in _HALVES:
            restore.callback(_widen(layer))
    for owner, name in _casts(layers):
        restore.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, "float32")
    return restore


def _casts(layers: list[keras.layers.Layer]) -> Iterator[tuple[Any, str]]:
    """What else casts to half precision, each once, and the name of its dtype.

    The inputs of a model, and the operations of its graph between layers of which one
    takes what another does not give. Neither has a public way to be changed.
    """
    found: dict[int, tuple[Any, str]] = {}
    for layer in layers:
        if isinstance(layer, keras.layers.InputLayer):
            found[id(layer)] = (layer, "_dtype")
        for tensor in tf.nest.flatten(getattr(layer, "inputs", None) or []):
            found[id(tensor)] = (tensor, "_dtype")
        for operation in getattr(layer, "operations", None) or []:
            if not isinstance(operation, keras.layers.Layer):
                found[id(operation)] = (operation, "dtype")
    for owner, name in found.values():
        if getattr(owner, name, None) in _HALVES:
            yield owner, name


def _widen(layer: keras.layers.Layer) -> Callable[[], None]:
    """Gives a layer the policy of single precision; returns what takes it back."""
    policy = layer.dtype_policy
    if isinstance(policy, keras.dtype_policies.DTypePolicyMap):
        return _widen_in_map(layer, policy)
    layer.dtype_policy = _widened(policy)

    def restore() -> None:
        layer.dtype_policy = policy

    return restore


def _widen_in_map(
    layer: keras.layers.Layer, policies: keras.dtype_policies.DTypePolicyMap
) -> Callable[[], None]:
    """The same for a layer that looks its policy up by its path."""
    path = layer.path
    policy = policies[path]
    known = path in list(policies)  # `in` alone is true of every path
    if known:
        del policies[path]
    policies[path] = _widened(policy)

    def restore() -> None:
        del policies[path]
        if known:
            policies[path] = policy

    return restore


class _Widened(keras.DTypePolicy):
    """Computes in float32 on weights in half precision."""

    def __init__(self, variable_dtype: str) -> None:
        super().__init__("float32")
        self._kept = variable_dtype

    @property
    def variable_dtype(self) -> str:
        """That of the weights."""
        return self._kept


def _widened(policy: Any) -> Any:
    """`mixed_float16`, `float16` or `int8_from_mixed_float16` with float32 for it."""
    if policy.variable_dtype in _HALVES:
        return _Widened(policy.variable_dtype)
    name = re.sub("mixed_b?float16", "float32", policy.name)
    return keras.dtype_policies.get(name)


def _layers(model: Any) -> Iterator[keras.layers.Layer]:
    """A Keras layer and every layer in it, those that other layers hold included."""
    seen: set[int] = set()
    pending = [model]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            pending += part.values()
        elif isinstance(part, (list, tuple)):
            pending += part
        elif isinstance(part, keras.layers.Layer) and id(part) not in seen:
            seen.add(id(part))
            yield part
            pending += vars(part).values()
