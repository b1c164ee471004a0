"""What one image costs."""

from __future__ import annotations

import math

import keras

from tfrobust.layers import (
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralDense,
    SpectralDepthwiseConv2D,
    find_layers,
)

# A convolution uses its kernel once for each pixel of its answer, a transposed one for
# each pixel that it is given.
_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    SpectralConv2D,
    SpectralDepthwiseConv2D,
)
_TRANSPOSED = (keras.layers.Conv2DTranspose, SpectralConv2DTranspose)


def multiply_adds(network: keras.Model) -> int:
    """Multiply-adds of the convolutions and dense layers for one image.

    Convolutions are plain, depthwise and transposed ones, Keras's and spectral.

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
    for kind in _CONVOLUTIONS:
        for layer in find_layers(network, kind):
            total += math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
    for kind in _TRANSPOSED:
        for layer in find_layers(network, kind):
            total += math.prod(layer.kernel.shape) * math.prod(layer.input.shape[1:3])
    for kind in (keras.layers.Dense, SpectralDense):
        for layer in find_layers(network, kind):
            total += math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
    return total
