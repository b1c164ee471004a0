"""One function of images, as networks of every kind write it."""

import functools

import keras
import numpy as np
import tensorflow as tf

from tests.seeds import set_seeds
from tfrobust import models

SHAPE = (6, 5, 2)
COUNT = 5
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), np.uint8)
IMAGES = PIXELS.astype(np.float32) / np.float32(255)
LABELS = np.array([0, 2, 1, 2, 0], np.int32)

# Each network that has a twin, and which is the twin.
KINDS = {
    "bytes and softmax": "logits",
    "bounds are given": "logits",
    "of a wrapper": "logits",
    "one output": "two logits",
}


def _network(first, classes, last=None):
    image = keras.Input(SHAPE)
    x = keras.layers.Conv2D(3, 3, activation="softplus", name="conv")(first(image))
    x = keras.layers.Dense(classes, last, name="dense")(keras.layers.Flatten()(x))
    return keras.Model(image, x)


@functools.cache
def network(kind):
    """The network of a kind; see `KINDS`."""
    if kind == "logits":
        set_seeds(0)
        return _network(lambda image: image, 3)
    if kind == "two logits":
        plain = _network(lambda image: image, 2)
        weights = network("one output").get_weights()
        halves = [np.concatenate([-w, w], axis=-1) / 2 for w in weights[2:]]
        plain.set_weights([*weights[:2], *halves])
        return plain
    if kind == "one output":
        set_seeds(1)
        return _network(keras.layers.Rescaling(1 / 255), 1, "sigmoid")
    weights = network("logits").get_weights()
    if kind == "bytes and softmax":
        twin = _network(keras.layers.Rescaling(1 / 255), 3, "softmax")
        twin.set_weights(weights)
        return twin
    # From 0 to 4, which nothing in the network tells.
    twin = _network(lambda image: image, 3)
    twin.set_weights([weights[0] / 4, *weights[1:]])
    return models.Classifier(twin, bounds=(0, 4)) if kind == "of a wrapper" else twin


class Probabilities(keras.Model):
    """Three classes by a softmax that no graph shows to be one."""

    def call(self, images):
        powers = tf.exp(tf.reshape(images, [-1, 60])[:, :3])
        return powers / tf.reduce_sum(powers, axis=1, keepdims=True)


def images_for(kind):
    """The images as a network of this kind takes them, and how to tell it."""
    if kind in ("logits", "two logits"):
        return IMAGES, {}
    if kind in ("bytes and softmax", "one output"):
        return PIXELS, {}
    return 4 * IMAGES, {"bounds": (0, 4)} if kind == "bounds are given" else {}


def factor(kind):
    """The largest pixel."""
    return {"bytes and softmax": 255.0, "one output": 255.0}.get(kind, 4.0)


def labels_for(kind):
    """A class of the network for each image."""
    return LABELS % 2 if kind in ("one output", "two logits") else LABELS
