"""A network of two layers for the tests of layers and their responses."""

import keras
import numpy as np

SHAPE = (6, 5, 2)


def two_layers():
    """A convolution with a ReLU inside, and a norm whose statistics are no defaults."""
    image = keras.Input(SHAPE)
    x = keras.layers.Conv2D(3, 3, activation="relu", name="conv")(image)
    norm = keras.layers.BatchNormalization(name="norm")
    network = keras.Model(image, keras.layers.GlobalMaxPooling2D(name="pool")(norm(x)))
    random = np.random.default_rng(1)
    norm.set_weights([random.uniform(0.5, 2.0, 3) for _ in range(4)])
    return network
