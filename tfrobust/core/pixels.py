"""The range of a network's pixels, and images in it as images in [0, 1].

Everything in this library is computed on images in [0, 1], so that a radius or a
curvature means the same for every network. What a network itself takes, 0 to 255 say,
are its *bounds*.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrobust.core.keras_graph import is_graph
from tfrobust.layers import network_of

Bounds = tuple[float, float]
"""The least and the largest value of a pixel, as a network takes it."""

UNIT: Bounds = (0.0, 1.0)

BYTES: Bounds = (0.0, 255.0)

# Divisors of pixels of 0 to 255: to [0, 1], and to [-1, 1].
_BYTE_DIVISORS = (255.0, 256.0, 127.5, 128.0)

# Layers that leave the range of pixels as it is, beside the augmentations, `Random...`.
_NEUTRAL = (
    "CenterCrop",
    "Cropping2D",
    "Dropout",
    "GaussianNoise",
    "Identity",
    "InputLayer",
    "Permute",
    "Pipeline",
    "Reshape",
    "Resizing",
    "ZeroPadding2D",
)


_TAKE_BYTES: weakref.WeakKeyDictionary[Any, tuple[int, bool]]
_TAKE_BYTES = weakref.WeakKeyDictionary()


def check_bounds(bounds: Any) -> Bounds:
    """Bounds as two numbers; raises `ValueError` if they are none.

    Example:
        >>> check_bounds([0, 255])
        (0.0, 255.0)
    """
    try:
        low, high = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        low = high = 0.0
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(
            "`bounds` must be two numbers, the least and the largest value of a pixel. "
            f"Received: bounds={bounds!r}"
        )
    return low, high


def bounds_of(model: Any, bounds: Any = None) -> Bounds:
    """The range of the pixels that a model takes.

    Args:
        model: Any classifier.
        bounds: What the caller says, if anything, such as `(0, 255)`.

    Returns:
        In this order: what the caller says; what a `models.Classifier` or a
        `RobustModel` was made with; what the first layers of a functional or sequential
        network say, a `Rescaling` or `Normalization` of bytes or an input of integers;
        [0, 1].

    Raises:
        ValueError: If `bounds` is not two numbers in rising order.

    Example:
        >>> layers = [keras.Input((2, 2, 1)), keras.layers.Rescaling(1 / 255)]
        >>> bounds_of(keras.Sequential(layers)), bounds_of(lambda x: x)
        ((0.0, 255.0), (0.0, 1.0))
    """
    loaded = hasattr(model, "network") and hasattr(model, "call")
    if loaded and not callable(model) and not hasattr(model, "signatures"):
        raise ValueError(
            "`model` must be a model. Received: what `models.load` returns; give its "
            "`network`, of its own pixels, or its `call`, of images in [0, 1]"
        )
    if bounds is not None:
        bounds = check_bounds(bounds)
        if getattr(model, "is_in_units", False) and bounds != UNIT:
            raise ValueError(
                "`bounds` must be (0, 1), or None, for a model that was loaded to be "
                f"called on images in [0, 1]. Received: bounds={bounds}"
            )
        return bounds
    # What is no Keras model of ours may say it too, as a served model does.
    own = getattr(model, "bounds", None)
    if own is not None:
        return check_bounds(own)
    network = network_of(model)
    return BYTES if _takes_bytes(network) else UNIT


def to_unit(images: tf.Tensor, bounds: Bounds) -> tf.Tensor:
    """Images within bounds as images in [0, 1], of the same dtype.

    Example:
        >>> to_unit(tf.constant([0.0, 51.0, 255.0]), BYTES).numpy().tolist()
        [0.0, 0.20000000298023224, 1.0]
    """
    if bounds == UNIT:
        return images
    low, high = bounds
    return (images - low) / (high - low)


def from_unit(images: tf.Tensor, bounds: Bounds) -> tf.Tensor:
    """Images in [0, 1] as a network with these bounds takes them.

    Example:
        >>> from_unit(tf.constant([0.0, 0.5, 1.0]), (-1.0, 1.0)).numpy().tolist()
        [-1.0, 0.0, 1.0]
    """
    if bounds == UNIT:
        return images
    low, high = bounds
    return images * (high - low) + low


def _takes_bytes(network: Any) -> bool:
    """Whether a network's first layers say that its pixels are 0 to 255."""
    if not isinstance(network, keras.Model) or not is_graph(network):
        return False
    # A sequential model may get another layer; reading a large graph takes a while.
    count = len(network.layers)
    known = _TAKE_BYTES.get(network)
    if known is None or known[0] != count:
        known = _TAKE_BYTES[network] = count, _reads_bytes(network)
    return known[1]


def _reads_bytes(network: keras.Model) -> bool:
    if any(tf.as_dtype(image.dtype).is_integer for image in network.inputs):
        return True
    said = (said for said in _first_steps(network) if said is not None)
    return next(said, False)


def _first_steps(network: keras.Model) -> Iterator[bool | None]:
    """What each layer or operation says of the pixels, in the network's order.

    `True` and `False` are whether they are bytes, `None` is nothing.
    """
    layers = {layer.name: layer for layer in network.layers}
    for entry in _entries(network):
        name = entry.get("name") or entry["config"].get("name")
        layer = layers.get(name)
        if entry["class_name"] == "InputLayer":
            continue
        if layer is None:
            yield _said_by_operation(entry)
        elif is_graph(layer):
            yield from _first_steps(layer)
        elif isinstance(layer, keras.layers.Rescaling):
            yield _divides_bytes(layer.scale)
        elif isinstance(layer, keras.layers.Normalization):
            yield _is_large(getattr(layer, "mean", None))
        else:
            yield None if _is_neutral(layer) else False


def _entries(network: keras.Model) -> list[dict[str, Any]]:
    """The layers and operations of a network, as its configuration has them."""
    try:
        return network.get_config()["layers"]
    # A layer of somebody's own may have no configuration, or one that raises anything.
    except Exception:
        return [
            {"class_name": type(layer).__name__, "name": layer.name}
            for layer in network.layers
        ]


def _said_by_operation(entry: dict[str, Any]) -> bool | None:
    """The same of arithmetic that is no layer, as `images / 255` is."""
    kind, nodes = entry["class_name"], entry.get("inbound_nodes") or []
    numbers = list(_numbers(nodes[0]["args"])) if nodes else []
    if kind in ("GetItem", "Stack"):  # Channels in another order.
        return None
    if kind in ("TrueDivide", "Divide") and numbers:
        return _divides_bytes(1.0 / np.asarray(numbers)) if all(numbers) else False
    if kind == "Multiply" and numbers:
        return _divides_bytes(numbers)
    if kind in ("Subtract", "Add") and numbers:
        # An offset of pixels in [0, 1] is small, and does not say where it ends.
        return True if _is_large(numbers) else None
    return False


def _numbers(arguments: Any) -> Iterator[float]:
    """The constants among the arguments of an operation in a configuration."""
    if isinstance(arguments, bool) or arguments is None:
        return
    if isinstance(arguments, int | float):
        yield float(arguments)
    elif isinstance(arguments, dict):
        if arguments.get("class_name") != "__keras_tensor__":
            yield from _numbers(arguments.get("config", {}).get("value"))
    elif isinstance(arguments, list | tuple):
        for part in arguments:
            yield from _numbers(part)


def _is_neutral(layer: keras.layers.Layer) -> bool:
    name = type(layer).__name__
    return name in _NEUTRAL or name.startswith(("Random", "Auto", "Aug"))


def _divides_bytes(scale: Any) -> bool:
    scales = np.abs(np.asarray(scale, np.float64)).ravel()
    near = [np.isclose(scales * divisor, 1.0, rtol=1e-3) for divisor in _BYTE_DIVISORS]
    return bool(np.any(near, axis=0).all())


def _is_large(numbers: Any) -> bool:
    """Whether the mean of a pixel is one that no image in [0, 1] has."""
    return numbers is not None and float(np.max(np.abs(np.asarray(numbers)))) > 2.0
