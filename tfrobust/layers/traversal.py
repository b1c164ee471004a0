"""Finding layers inside a Keras model, nested models included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import keras

from tfrobust.layers.activations import CenteredSoftplus
from tfrobust.layers.wrapper import network_of

LayerType = TypeVar("LayerType", bound=keras.layers.Layer)


def find_layers(model: keras.Model, kind: type[LayerType]) -> list[LayerType]:
    """All layers of one class, in the order the model lists them, each once.

    Args:
        model: Any Keras model; models nested in it are searched too, and of a
            `NetworkWrapper` its network.
        kind: The layer class, subclasses included.

    Returns:
        List of layers, empty if there is none.

    Example:
        >>> import keras
        >>> from tfrobust.layers import CenteredSoftplus, find_layers
        >>> model = keras.Sequential([CenteredSoftplus(), keras.layers.Dense(2)])
        >>> [type(layer).__name__ for layer in find_layers(model, CenteredSoftplus)]
        ['CenteredSoftplus']
    """
    walked = _walk(network_of(model))
    layers = {id(layer): layer for layer in walked if isinstance(layer, kind)}
    return list(layers.values())


def learnable_activations(model: keras.Model) -> list[CenteredSoftplus]:
    """The centered softplus layers whose beta is learnt, in the order of the model.

    Args:
        model: Any Keras model; models nested in it are searched too.

    Returns:
        List of layers, empty for a network of fixed activations.

    Example:
        >>> import keras
        >>> from tfrobust.layers import CenteredSoftplus, learnable_activations
        >>> fixed = CenteredSoftplus(1000.0, trainable=False)
        >>> model = keras.Sequential([keras.Input((2,)), fixed, CenteredSoftplus()])
        >>> len(learnable_activations(model))
        1
    """
    return [layer for layer in find_layers(model, CenteredSoftplus) if layer.trainable]


def _walk(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    yield layer
    for child in getattr(layer, "layers", []):
        yield from _walk(child)
