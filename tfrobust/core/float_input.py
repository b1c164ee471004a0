"""A network whose input is integers, as one of floating images."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

from tfrobust.core.gradients import has_gradient
from tfrobust.core.keras_graph import is_graph
from tfrobust.layers import find_layers, network_of

# What these do with a number between two integers is no part of a derivative.
_INTEGER_LAYERS = (
    kl.CategoryEncoding,
    kl.Discretization,
    kl.Embedding,
    kl.HashedCrossing,
    kl.Hashing,
    kl.IntegerLookup,
    kl.ReversibleEmbedding,
    kl.StringLookup,
)
# What an unknown height or width is taken for where a network is tried.
_SIDE = 32
_TOLERANCE = 1e-4


def float_input(network: keras.Model) -> keras.Model | None:
    """The same network for float32 images in the units of its integer pixels.

    Keras casts whatever a network is called on to the dtype of its input: given
    floating images, one of `uint8` truncates them, and has no gradient. The view
    answers as if that cast were the identity. It shares the layers, hence the weights,
    without leaving a trace in them; it is for calling and not for saving.

    It is tried on random integers and given only where both agree there: a network
    whose arithmetic needs integers, such as a sum of `uint8` that wraps around, has
    none.

    Args:
        network: Any Keras model.

    Returns:
        The view; the network itself if its one input is floating already; `None` if it
        is not a functional or sequential model of one input, or truly needs integers.

    Example:
        >>> network = keras.Sequential(
        ...     [keras.Input((2,), dtype="uint8"), keras.layers.Rescaling(0.5)])
        >>> network(tf.constant([[1.5, 3.0]])).numpy().tolist()
        [[0.5, 1.5]]
        >>> float_input(network)(tf.constant([[1.5, 3.0]])).numpy().tolist()
        [[0.75, 1.5]]
    """
    network = network_of(network)
    if not is_graph(network) or len(network.inputs) != 1:
        return None
    if tf.as_dtype(network.inputs[0].dtype).is_floating:
        return network
    if any(find_layers(network, kind) for kind in _INTEGER_LAYERS):
        return None
    try:
        view = _view(network)
        return view if _agree(network, view) else None
    except (TypeError, ValueError, tf.errors.InvalidArgumentError):
        return None  # an operation that takes integers alone


def for_floats(network: Any) -> Any:
    """A network as it is to be asked about floating images.

    Args:
        network: Any Keras model or layer.

    Returns:
        The network itself, or its `float_input` where its input is integers.

    Raises:
        ValueError: If it truly needs integers.

    Example:
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> for_floats(network) is network
        True
    """
    inputs = getattr(network, "inputs", None) or []
    if len(inputs) != 1 or tf.as_dtype(inputs[0].dtype).is_floating:
        return network
    # Past Keras's tracking: the view holds the same weights, and goes with its network.
    known = vars(network)
    if "_float_view" not in known:
        known["_float_view"] = float_input(network)
    if known["_float_view"] is None:
        raise ValueError(
            "`model` must take images as floating numbers, or integers that it turns "
            f"into such first. Received: {network.name!r}, which computes with integers"
        )
    return known["_float_view"]


class _Shared(kl.Wrapper):
    """A layer of another network: called here, its graph there stays as it is."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer answers."""
        return self.layer(*args, **kwargs)

    def build(self, *shapes: Any) -> None:
        """Nothing to create."""
        self.built = True


def _view(network: keras.Model) -> keras.Model:
    """The graph of a network once more, from a floating input through its layers."""

    def shared(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation of `keras.ops`, which has no state
        nested = isinstance(layer, keras.Model) and float_input(layer)
        # Without casts of its own, of which the layer has what it needs.
        return _Shared(nested or layer, name=layer.name, autocast=False)

    given = network.inputs[0]
    if isinstance(network, keras.Sequential):
        graph = keras.Model(given, network.outputs[0])
    else:
        graph = keras.Model(network.input, network.output)  # its structures
    inputs = keras.Input(batch_shape=given.shape, dtype="float32", name=given.name)
    inputs = tf.nest.map_structure(lambda _: inputs, graph.input)
    return keras.models.clone_model(graph, input_tensors=inputs, clone_function=shared)


def _agree(network: keras.Model, view: keras.Model) -> bool:
    """Whether both answer alike on integers, and the view has a gradient."""
    given = network.inputs[0]
    dtype = np.dtype(given.dtype)
    if dtype.kind not in "iu":
        return False
    shape = [2, *(_SIDE if size is None else size for size in given.shape[1:])]
    info = np.iinfo(dtype)
    low, high = max(info.min, -128), min(info.max, 255)
    pixels = np.random.default_rng(0).integers(low, high, shape, dtype, endpoint=True)
    floats = pixels.astype(np.float32)
    if not has_gradient(lambda x: view(x, training=False), tf.constant(floats)):
        return False
    with tf.init_scope():  # numbers, also where a graph is under construction
        expected = tf.nest.flatten(network(tf.constant(pixels), training=False))
        answers = tf.nest.flatten(view(tf.constant(floats), training=False))
        return all(map(_close, expected, answers))


def _close(expected: tf.Tensor, answer: tf.Tensor) -> bool:
    expected, answer = (np.asarray(x, np.float64) for x in (expected, answer))
    size = np.abs(expected).max(initial=0.0)
    return bool(np.allclose(answer, expected, rtol=0, atol=_TOLERANCE * size))
