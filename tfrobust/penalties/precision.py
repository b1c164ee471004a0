"""Input-gradients of networks in half precision."""

from __future__ import annotations

import keras

from tfrobust.layers import find_layers

# float16 stops at 6e-8; input-gradients of a trained network are smaller than that.
_FLOAT16_SCALE = 1024.0


def gradient_scale(network: keras.Model) -> float:
    """What to multiply a loss by before its input-gradient is taken, and divide after.

    Args:
        network: Any Keras model.

    Returns:
        A power of 2 if a layer computes in float16, else 1.

    Example:
        >>> from tfrobust import models
        >>> gradient_scale(models.MLP((2,), classes=2, hidden=(3,)))
        1.0
    """
    layers = find_layers(network, keras.layers.Layer)
    half = any(layer.compute_dtype == "float16" for layer in layers)
    return _FLOAT16_SCALE if half else 1.0
