"""Small trained networks that come with the library.

Each is two files in the folder `zoo` beside this one: NAME.npz, the weights, and
NAME.json, its card. Kernels are kept in half precision, so what a card says was
measured on the network as it is loaded here, not on the one that was trained.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from typing import Any

import keras
import numpy as np

from tfrobust.layers import SpectralLayer, find_layers
from tfrobust.models import registry

# The right singular vector follows from the left one by one round of iteration.
_DERIVED = "right"


def list_pretrained() -> list[str]:
    """Names of the networks that come with the library, sorted.

    Example:
        >>> from tfrobust import models
        >>> "cifar10_lcnn" in models.list_pretrained()
        True
    """
    names = (entry.name for entry in _folder().iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith("json"))


def pretrained_card(name: str) -> dict[str, Any]:
    """What is known of a trained network: data, settings, and measured numbers.

    Args:
        name: One of `list_pretrained()`.

    Returns:
        The card, made of plain values: `network` (how it is built), `training` (the
        flags), `measured` (accuracy, accuracy under attack, geometry, each with its
        standard error and on how many images), `sha256` of the weights.

    Raises:
        ValueError: If there is no such network.

    Example:
        >>> from tfrobust import models
        >>> models.pretrained_card("cifar10_lcnn")["network"]["variant"]
        'lcnn'
    """
    names = list_pretrained()
    if name not in names:
        raise ValueError(
            f"`name` must be one of {', '.join(names)}. Received: {name!r}"
        )
    card: dict[str, Any] = json.loads((_folder() / f"{name}.json").read_text())
    return card


def pretrained(name: str) -> keras.Model:
    """A trained network, from the package: nothing is downloaded.

    Args:
        name: One of `list_pretrained()`.

    Returns:
        A functional `keras.Model` from float32 images in [0, 1] to logits.

    Raises:
        ValueError: If there is no such network, or its file is not the one that its
            card describes.

    Example:
        >>> from tfrobust import models
        >>> models.pretrained("cifar10_lcnn").input_shape
        (None, 32, 32, 3)
    """
    card = pretrained_card(name)
    packed = _folder() / f"{name}.npz"
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    if digest != card["sha256"]:
        raise ValueError(
            f"`name` must stand for an undamaged file. Received: {name!r}, whose "
            f"weights have the digest {digest[:12]} instead of {card['sha256'][:12]}"
        )
    network = build(card["network"])
    with packed.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        unpack(network, dict(arrays))
    return network


def build(settings: dict[str, Any]) -> keras.Model:
    """An untrained network from the part of a card that describes it."""
    arguments = dict(settings)
    return registry.build(arguments.pop("architecture"), **arguments)


def pack(network: keras.Model) -> dict[str, np.ndarray]:
    """The weights by path as they are shipped: kernels and vectors in float16.

    Example:
        >>> from tfrobust import models
        >>> network = models.MLP((2,), classes=2, hidden=(3,))
        >>> {path: array.dtype.name for path, array in pack(network).items()}
        ... # doctest: +NORMALIZE_WHITESPACE
        {'hidden1/kernel': 'float16', 'hidden1/bias': 'float32',
         'hidden1_activation/log_beta': 'float32', 'logits/kernel': 'float16',
         'logits/bias': 'float32'}
    """
    packed = {}
    for weight in network.weights:
        kind = weight.path.rpartition("/")[2]
        if kind == _DERIVED:
            continue
        dtype = np.float16 if kind in ("kernel", "left") else np.float32
        packed[weight.path] = np.asarray(weight.value, dtype)
    return packed


def unpack(network: keras.Model, packed: dict[str, np.ndarray]) -> None:
    """Gives a network the weights that `pack` returned.

    Raises:
        ValueError: If they are not those of this network.
    """
    weights = {
        weight.path: weight
        for weight in network.weights
        if not weight.path.endswith(f"/{_DERIVED}")
    }
    if weights.keys() != packed.keys():
        other = sorted(weights.keys() ^ packed.keys())
        raise ValueError(
            f"`packed` must hold the weights of the network. Received: {other[0]} is "
            "in one of them only"
        )
    for path, weight in weights.items():
        weight.assign(packed[path].astype(np.float32))
    for layer in find_layers(network, SpectralLayer):
        layer.refresh(iterations=1)


def _folder() -> Any:
    return resources.files("tfrobust.models") / "zoo"
