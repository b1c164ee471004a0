"""Networks that several tests share."""

from __future__ import annotations

import keras
import tensorflow as tf

from tests.seeds import set_seeds
from tfrobust import layers


def low_curvature(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """A small network of every low-curvature layer, statistics off their start."""
    set_seeds(5)
    inputs = keras.Input(shape)
    x = layers.SpectralConv2D(6, 3, strides=2)(inputs)
    x = layers.LipschitzBatchNormalization()(x)
    x = layers.CenteredSoftplus()(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, layers.SpectralDense(classes)(x))
    model(tf.random.stateless_uniform([16, *shape], [1, 2]), training=True)
    return model


def free_size(classes: int) -> keras.Model:
    """A network for colour images of any size of at least 3 x 3 pixels."""
    set_seeds(5)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, activation="softplus")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(x))
