"""Finding layers inside a Keras model, nested models included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import keras

LayerType = TypeVar("LayerType", bound=keras.layers.Layer)


def find_layers(model: keras.Model, kind: type[LayerType]) -> list[LayerType]:
    """All layers of one class, in the order the model lists them, each once.

    Args:
        model: Any Keras model; models nested in it are searched too.
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
    found = {id(layer): layer for layer in _walk(model) if isinstance(layer, kind)}
    return list(found.values())


def _walk(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    yield layer
    for child in getattr(layer, "layers", []):
        yield from _walk(child)
