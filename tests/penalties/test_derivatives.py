"""Penalties on gradients are refused where the gradient's own derivative is lost."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from tests.core.test_differentiable import Pooled, Shuffled
from tests.penalties.common import CLASSES, SHAPE
from tests.seeds import set_seeds
from tfrobust import pag
from tfrobust.core.differentiable import layers_named
from tfrobust.core.gradients import linearize
from tfrobust.penalties import Cure, GradientAlignment, StepContext

IMAGES = np.random.default_rng(0).random((CLASSES, *SHAPE), np.float32)
LABELS = np.arange(CLASSES)


def network(*layers):
    set_seeds(0)
    ends = [
        kl.Conv2D(2, 2, padding="same", activation="softplus"),
        kl.Flatten(),
        kl.Dense(CLASSES),
    ]
    return keras.Sequential([keras.Input(SHAPE), *layers, *ends])


def cure(model):
    return Cure(1.0), {}


def alignment(model):
    with layers_named(model):
        _, pull = linearize(model, tf.constant(IMAGES))
    directions = pag.OneImage(IMAGES, LABELS, CLASSES)
    return GradientAlignment(directions), {"pullback": pull}


def gradients(penalty, model):
    """In the weights, by a graph."""

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            term, more = penalty(model)
            empty = tf.zeros([len(IMAGES)])
            context = StepContext(
                network=model,
                images=tf.constant(IMAGES),
                labels=tf.constant(LABELS),
                logits=empty,
                losses=empty,
                **more,
            )
            value = term(context)
        return value, tape.gradient(value, model.trainable_variables[:1])[0]

    return step()


@pytest.mark.parametrize("penalty", [cure, alignment])
@pytest.mark.parametrize("layer", [Pooled, Shuffled])
def test_a_layer_without_the_derivative_is_named(penalty, layer):
    with pytest.raises(ValueError) as caught:
        gradients(penalty, network(layer(name="odd")))
    assert f"the layer 'odd' ({layer.__name__})" in str(caught.value)


class Matrices(kl.Layer):
    """Bilinear resizing as a matrix along the rows and one along the columns."""

    def call(self, x):
        rows, columns = (
            tf.image.resize(tf.eye(old)[None, :, None], (new, 1))[0, :, 0]
            for old, new in zip(SHAPE[:2], (7, 6), strict=True)
        )
        return tf.einsum("bijc,ri,sj->brsc", x, rows, columns)


@pytest.mark.parametrize("penalty", [cure, alignment])
def test_the_penalty_of_a_network_that_resizes_is_that_of_its_matrices(penalty):
    layers = (kl.Resizing(7, 6), Matrices())
    results = [gradients(penalty, network(layer)) for layer in layers]
    for computed, expected in zip(*results, strict=True):
        assert np.abs(expected).max() > 1e-5
        np.testing.assert_allclose(computed, expected, rtol=1e-3, atol=1e-7)
