"""A teacher without symmetry, and noise for it to look at."""

import keras
import numpy as np

from tests.seeds import set_seeds
from tfrobust import data

CLASSES, SHAPE, COUNT = 3, (6, 5, 2), 11


def make_teacher(activation="tanh", seed=0, outputs=CLASSES):
    """Two convolutions and a dense layer, without symmetry."""
    set_seeds(seed)
    return keras.Sequential(
        [
            keras.Input(SHAPE, name="images"),
            keras.layers.Conv2D(3, 3, activation=activation, name="first"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Conv2D(4, 2, activation="softplus", name="second"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(outputs, name="logits"),
        ],
        name="teacher",
    )


def make_images(seed=0, name="noise", count=COUNT):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, *SHAPE), np.uint8)
    labels = random.integers(0, CLASSES, count)
    return data.Dataset(name, images, labels, ("a", "b", "c"))
