"""Which layers of a network are looked at, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfrobust import layers as own_layers

_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    own_layers.SpectralConv2D,
    own_layers.SpectralDepthwiseConv2D,
)
# They only move values about; what they give is no layer's answer.
_MOVERS = (
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.UpSampling2D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
)
_DENSE = (keras.layers.Dense, own_layers.SpectralDense)

Layers = Sequence[str] | Mapping[str, str]
"""Names of layers, or what to call each in the result: `{label: name}`."""


def default_layers(model: keras.Model) -> dict[str, str]:
    """Where to look at a network: the paper's layers, or their like.

    On a ResNet of `tfrobust.models`: `Conv 1` is the output of the first convolution,
    `Layer 0` what its norm and activation make of it, `Layer 1` to `Layer 4` the output
    of each stage.

    On another network with convolutions: `Conv 1` is the first convolution; `Layer 0`
    the last layer of the same shape before the next one, if there is any; and
    `Layer 1`, `Layer 2` and so on the last layer behind it of each height and width, in
    the order of the network, pooling and padding left out. Where there are skip
    connections, such a layer may lie within a branch. A network without convolutions
    gives each dense layer, before its activation where that is a layer of its own, as
    `Dense 1`, `Dense 2`.

    Args:
        model: As for `local_response`.

    Returns:
        Names of layers by label, in the order of the network.

    Raises:
        ValueError: If the model is of another kind, or has neither convolutions nor
            dense layers of its own.

    Example:
        >>> from tfrobust import models
        >>> default_layers(models.ResNet18((8, 8, 3), width=1))["Layer 2"]
        'stage2_block2_activation'
    """
    network = functional_network(model)
    names = _layer_names(network)
    kept = [layer for layer in network.layers if layer.name in names]
    convolutions = [i for i, one in enumerate(kept) if isinstance(one, _CONVOLUTIONS)]
    if convolutions:
        return _stages_of_resnet(names) or _resolutions(kept, convolutions)
    dense = [layer.name for layer in kept if isinstance(layer, _DENSE)]
    if not dense:
        raise ValueError(
            "`model` must have a convolution or dense layer of its own, or `layers` "
            f"must be given. Received: a model of layers {', '.join(names)}"
        )
    return {f"Dense {i}": name for i, name in enumerate(dense, start=1)}


def _stages_of_resnet(names: Sequence[str]) -> dict[str, str]:
    """The paper's layers by the names that `models.ResNet18` gives, if these are."""
    pattern = re.compile(r"stage(\d+)_block\d+_activation")
    matches = filter(None, map(pattern.fullmatch, names))
    # Blocks are in their order: the last of a stage stays.
    ends = {f"Layer {match[1]}": match[0] for match in matches}
    stem = {"Conv 1": "stem_conv", "Layer 0": "stem_activation"}
    return stem | ends if ends and set(stem.values()) <= set(names) else {}


def _resolutions(kept: list[keras.Layer], convolutions: list[int]) -> dict[str, str]:
    first = convolutions[0]
    second = convolutions[1] if len(convolutions) > 1 else len(kept)
    shape = kept[first].output.shape
    alike = [layer for layer in kept[first:second] if layer.output.shape == shape]
    chosen = {"Conv 1": kept[first].name}
    if alike[-1] is not kept[first]:
        chosen["Layer 0"] = alike[-1].name
    start = kept.index(alike[-1]) + 1
    behind = [layer for layer in kept[start:] if not isinstance(layer, _MOVERS)]
    images = [layer for layer in behind if len(layer.output.shape) == 4]
    last = {layer.output.shape[1:3]: layer.name for layer in images}
    order = [layer.name for layer in images if layer.name in last.values()]
    return chosen | {f"Layer {i}": name for i, name in enumerate(order, start=1)}


def functional_network(model: Any) -> keras.Model:
    """The functional network that a model is, or that a wrapper is around.

    Args:
        model: As for `local_response`.

    Raises:
        ValueError: If the model is of another kind, or has several inputs.

    Example:
        >>> from tfrobust.models import MLP
        >>> network = MLP((1, 1, 1), 2, hidden=(3,))
        >>> functional_network(network) is network
        True
    """
    network = own_layers.network_of(model)
    inputs = getattr(network, "inputs", None)
    if not isinstance(network, keras.Model) or not inputs or len(inputs) != 1:
        raise ValueError(
            "`model` must be a functional or sequential Keras model with one input, "
            f"whose layers can be looked at. Received: {type(model).__name__}"
        )
    return network


def _layer_names(network: keras.Model) -> list[str]:
    """Layers that answer with one tensor, a row an image."""
    names = []
    for layer in network.layers:
        output = getattr(layer, "output", None)
        if isinstance(output, keras.KerasTensor) and len(output.shape) > 1:
            names.append(layer.name)
    return names


def chosen_layers(network: keras.Model, layers: Layers | None) -> dict[str, str]:
    """Names of layers by label, those of `default_layers` unless others are asked for.

    Args:
        network: From `functional_network`.
        layers: As for `local_response`.

    Raises:
        ValueError: If there is no such layer; the sentence lists those that are.

    Example:
        >>> from tfrobust.models import MLP
        >>> chosen_layers(MLP((1, 1, 1), 2, hidden=(3,)), ["logits"])
        {'logits': 'logits'}
    """
    if layers is None:
        return default_layers(network)
    if isinstance(layers, str) or not layers:
        raise ValueError(
            "`layers` must be one or more names in a list, or {label: name}. "
            f"Received: {layers!r}"
        )
    chosen = dict(layers) if isinstance(layers, Mapping) else {n: n for n in layers}
    names = _layer_names(network)
    for name in chosen.values():
        if name not in names:
            raise ValueError(
                f"`layers` must be among {', '.join(names)}. Received: {name!r}"
            )
    return chosen
