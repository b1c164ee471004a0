"""A network whose gradients have closed forms, shared by the tests of penalties."""

import keras
import numpy as np

SHAPE, CLASSES = (2, 3, 2), 4


def softmax_regression():
    """A linear network whose weights are not small, and a batch of three."""
    random = np.random.default_rng(0)
    network = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    )
    kernel = random.normal(size=(12, CLASSES)).astype(np.float32)
    bias = random.normal(size=CLASSES).astype(np.float32)
    network.set_weights([kernel, bias])
    return network, random.random((3, *SHAPE), np.float32), np.array([2, 0, 2])
