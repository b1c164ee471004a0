"""The range of a network's pixels, and images in it as images in [0, 1].

Everything in this library is computed on images in [0, 1], so that a radius or a
curvature means the same for every network. What a network itself takes, 0 to 255 say,
are its *bounds*.
"""

from __future__ import annotations

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
    if bounds is not None:
        return check_bounds(bounds)
    # What is no Keras model of ours may say it too, as a served model does.
    own = getattr(model, "bounds", None)
    if own is not None:
        return check_bounds(own)
    network = network_of(model)
    return BYTES if _takes_bytes(network) else UNIT


def is_read_off(model: Any, bounds: Any = None) -> bool:
    """Whether bounds of 0 to 255 are what a network's first layers say.

    Example:
        >>> is_read_off(lambda x: x)
        False
    """
    said = bounds is not None or getattr(model, "bounds", None) is not None
    return not said and _takes_bytes(network_of(model))


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
    if any(tf.as_dtype(image.dtype).is_integer for image in network.inputs):
        return True
    for layer in _first_layers(network):
        if isinstance(layer, keras.layers.Rescaling):
            return _divides_bytes(layer.scale)
        if isinstance(layer, keras.layers.Normalization):
            return _has_byte_mean(layer)
        if not _is_neutral(layer):
            return False
    return False


def _first_layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a network in its order, those of nested models in their place."""
    for layer in network.layers:
        if is_graph(layer):
            yield from _first_layers(layer)
        else:
            yield layer


def _is_neutral(layer: keras.layers.Layer) -> bool:
    name = type(layer).__name__
    return name in _NEUTRAL or name.startswith(("Random", "Auto", "Aug"))


def _divides_bytes(scale: Any) -> bool:
    scales = np.abs(np.asarray(scale, np.float64)).ravel()
    near = [np.isclose(scales * divisor, 1.0, rtol=1e-3) for divisor in _BYTE_DIVISORS]
    return bool(np.any(near, axis=0).all())


def _has_byte_mean(layer: keras.layers.Normalization) -> bool:
    """Whether the mean of a pixel is one that no image in [0, 1] has."""
    mean = getattr(layer, "mean", None)
    return mean is not None and float(np.max(np.abs(np.asarray(mean)))) > 2.0
