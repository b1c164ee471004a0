"""Images, classifiers and a toy attack that several test files share."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from tests.seeds import set_seeds
from tfrobust.attacks import Attack, ThreatModel

SHAPE = (2, 3, 1)
CLASSES = 3
CONV_SHAPE = (6, 5, 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shift(Attack):
    """Adds a constant to every pixel, whatever that does."""

    amount: float
    eps: float | None = None

    @property
    def threat(self):
        return ThreatModel(2, self.eps)

    def run(self, problem):
        return problem.images + self.amount


def brightness(images):
    """Class 1 if the mean pixel is above 1/2, with logits that grow with it."""
    mean = tf.reduce_mean(images, axis=[1, 2, 3])
    return tf.stack([tf.zeros_like(mean), 10.0 * (mean - 0.5)], axis=-1)


def gray(*levels):
    """One flat image for each level."""
    return tf.ones((len(levels), *SHAPE)) * tf.reshape(
        tf.constant(levels, tf.float32), [-1, 1, 1, 1]
    )


class Affine:
    """f(x) = x W + b on flattened images, and how often it was called in Python."""

    def __init__(self, weights, bias):
        self.weights = np.asarray(weights, np.float64)
        self.bias = np.asarray(bias, np.float64)
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        rows = tf.reshape(images, [tf.shape(images)[0], len(self.weights)])
        weights = tf.constant(self.weights, tf.float32)
        return rows @ weights + tf.constant(self.bias, tf.float32)

    def logits(self, images):
        """The same in float64 NumPy."""
        rows = np.asarray(images, np.float64).reshape(len(images), -1)
        return rows @ self.weights + self.bias


def asked_for(rows):
    """A linear model that notes in `rows` how many images it is given each time."""

    def model(images):
        logits = Affine(np.ones((24, 2)) * [1.0, 0.0], [-12.0, 0.0])(images)
        tf.numpy_function(
            lambda part: rows.append(len(part)) or np.float32(0), [logits], tf.float32
        )
        return logits

    return model


def affine(classes, shape=(3, 4, 2), seed=0, lead=0.5):
    """An affine model that has class 0 ahead by about `lead` on a grey image."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(int(np.prod(shape)), classes))
    bias = -0.5 * weights.sum(axis=0) - lead * np.arange(classes)
    return Affine(weights, bias)


def distances(images, others, norm):
    """Distance of each pair in float64, by NumPy."""
    delta = np.asarray(others, np.float64) - np.asarray(images, np.float64)
    rows = delta.reshape(len(delta), -1)
    return np.linalg.norm(rows, ord=np.inf if norm == "inf" else norm, axis=1)


def build_convnet(policy=None):
    """A small network with everything that has state, not far from its boundaries."""
    set_seeds(3)
    inputs = keras.Input(CONV_SHAPE)
    keywords = {"dtype": policy}
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", **keywords)(inputs)
    x = keras.layers.BatchNormalization(**keywords)(x)
    x = keras.layers.Activation("softplus", **keywords)(x)
    x = keras.layers.Flatten(**keywords)(x)
    x = keras.layers.Dropout(0.5, seed=1, **keywords)(x)
    spread = keras.initializers.RandomNormal(0.0, 0.7, seed=2)
    x = keras.layers.Dense(CLASSES, kernel_initializer=spread, **keywords)(x)
    network = keras.Model(inputs, x)
    rng = np.random.default_rng(4)
    norm = network.layers[2]
    norm.moving_mean.assign(rng.normal(size=4) * 0.1)
    norm.moving_variance.assign(rng.uniform(0.2, 0.5, size=4))
    return network


@functools.cache
def convnet():
    """One network for all tests of a process, so that its searches compile once."""
    return build_convnet()


def conv_images(count, seed=0):
    """Random images, a third of whose pixels are exactly 0 or 1, and the answers."""
    rng = np.random.default_rng(seed)
    images = np.clip(rng.uniform(-0.2, 1.2, (count, *CONV_SHAPE)), 0.0, 1.0)
    images = images.astype(np.float32)
    answers = np.argmax(convnet()(images, training=False), axis=-1)
    return images, answers.astype(np.int32)
