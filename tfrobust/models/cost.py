"""What one image costs."""

from __future__ import annotations

import math

import keras

from tfrobust.layers import SpectralConv2D, SpectralDense, find_layers


def multiply_adds(network: keras.Model) -> int:
    """Multiply-adds of the convolutions and dense layers for one image.

    Args:
        network: A functional Keras model of known image size.

    Returns:
        The count; twice this is the usual number of floating-point operations. Norms,
        activations and the upkeep of spectral norms are left out.

    Example:
        >>> from tfrobust import models
        >>> network = models.MLP((10,), classes=2, hidden=(5,))
        >>> models.multiply_adds(network)
        60
    """
    total = 0
    for kind in (keras.layers.Conv2D, SpectralConv2D):
        for layer in find_layers(network, kind):
            total += math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
    for kind in (keras.layers.Dense, SpectralDense):
        for layer in find_layers(network, kind):
            total += math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
    return total
