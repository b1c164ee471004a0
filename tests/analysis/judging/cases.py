"""Small models and cases that the tests of single checks share."""

import numpy as np
import tensorflow as tf

from tfrobust.analysis.judging.assault import Assault
from tfrobust.analysis.judging.case import case_of
from tfrobust.core.images import pixels_in

SHAPE = (4, 3, 1)
SIZE = 12


def weights(classes=2, seed=0):
    return np.random.default_rng(seed).normal(size=(SIZE, classes))


def images(count, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.1, 0.9, (count, *SHAPE)).astype(np.float32)


def linear(classes=2, scale=1.0, quantum=0.0):
    """A model of weights in float32; with a quantum it rounds its input to that."""
    w = tf.constant(scale * weights(classes), tf.float32)

    def model(x):
        if quantum:
            x = tf.round(x / quantum) * quantum
        return (tf.reshape(x, [tf.shape(x)[0], SIZE]) - 0.5) @ w

    return model


def answers(model, pixels):
    return np.argmax(model(tf.constant(pixels)), axis=1).astype(np.int32)


def case(
    model, pixels, labels, norm="inf", eps=0.05, evaluation=None, bounds=None, **changes
):
    settings = {"steps": 10, "queries": 50, "seed": 0, **changes}
    assault = Assault(norm=norm, eps=eps, **settings)
    own = pixels_in(pixels, model, bounds)
    return case_of(model, own, labels, assault, evaluation, 1000, 64)
