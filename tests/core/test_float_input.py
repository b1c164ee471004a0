"""Views of networks with integer inputs: their answers on integers and their slopes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from tests.seeds import set_seeds
from tfrobust.core.float_input import float_input

SHAPE = (6, 5, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)


def sequential(*layers, dtype="uint8", shape=SHAPE):
    set_seeds(0)
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


def functional(first, dtype="uint8"):
    set_seeds(0)
    inputs = keras.Input(SHAPE, dtype=dtype)
    x = first(inputs)
    x = kl.Conv2D(4, 3, activation="tanh")(x)
    x = kl.BatchNormalization()(x)
    x = kl.Add()([x, kl.Conv2D(4, 3, padding="same")(x)])
    return keras.Model(inputs, kl.Dense(4)(kl.Flatten()(x)))


def nested():
    inner = functional(kl.Rescaling(1 / 127.5, -1.0))
    inputs = keras.Input(SHAPE, dtype="uint8")
    return keras.Model(inputs, kl.Dense(2)(inner(kl.Identity()(inputs))))


NETWORKS = {
    "rescaling": lambda: functional(kl.Rescaling(1 / 255)),
    "cast": lambda: functional(lambda x: keras.ops.cast(x, "float32") / 255.0),
    "divided": lambda: functional(lambda x: x / 255),
    "normalization": lambda: functional(
        kl.Normalization(mean=[120.0, 110, 100], variance=[900.0, 800, 700])
    ),
    "flipped first": lambda: functional(
        lambda x: kl.Rescaling(1 / 255)(kl.RandomFlip()(kl.ZeroPadding2D(1)(x)))
    ),
    "int32": lambda: functional(kl.Rescaling(1 / 255), dtype="int32"),
    "sequential": lambda: sequential(kl.Rescaling(1 / 255), kl.Flatten(), kl.Dense(3)),
    "nested": nested,
    "half": lambda: functional(kl.Rescaling(1 / 255, dtype="mixed_float16")),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_view_answers_as_the_network_does_on_integers(name):
    network = NETWORKS[name]()
    view = float_input(network)
    assert view.inputs[0].dtype == "float32"
    pixels = PIXELS.astype(network.inputs[0].dtype)
    expected = network(pixels, training=False)
    images = tf.constant(PIXELS.astype(np.float32))
    np.testing.assert_allclose(view(images, training=False), expected, atol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(view(images, training=False))
    gradient = tape.gradient(total, images).numpy()
    if name == "half":
        assert np.abs(gradient).max() > 0
        return
    vector = np.random.default_rng(1).normal(size=images.shape)
    ends = [
        np.sum(np.float64(view(PIXELS + np.float32(sign * vector), training=False)))
        for sign in (1.0, -1.0)
    ]
    slope = np.sum(gradient * vector)
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2, rtol=2e-2, atol=2e-3)


def test_a_view_follows_the_weights_and_leaves_the_layers_alone():
    network = functional(kl.Rescaling(1 / 255))
    view = float_input(network)
    before = view(PIXELS.astype(np.float32)).numpy()
    network.layers[-1].kernel.assign(2.0 * network.layers[-1].kernel)
    after = view(PIXELS.astype(np.float32)).numpy()
    np.testing.assert_allclose(after, network(PIXELS), atol=1e-5)
    assert np.abs(after - before).max() > 0.01
    # Of a layer with several uses this is an error.
    assert network.layers[2].output.shape == (None, 4, 3, 4)
    trained = {id(variable) for variable in network.trainable_variables}
    assert {id(variable) for variable in view.trainable_variables} == trained


def test_a_view_knows_training_from_inference():
    network = functional(kl.Rescaling(1 / 255))
    view = float_input(network)
    images = PIXELS.astype(np.float32)
    expected = network(PIXELS, training=True).numpy()
    np.testing.assert_allclose(view(images, training=True), expected, atol=1e-5)
    inference = view(images, training=False)
    np.testing.assert_allclose(inference, network(PIXELS, training=False), atol=1e-5)
    assert np.abs(expected - inference).max() > 0.01


def test_a_floating_network_is_its_own_view():
    network = sequential(kl.Flatten(), kl.Dense(2), dtype="float32")
    assert float_input(network) is network


@pytest.mark.parametrize(
    "layers",
    [
        [kl.Flatten, lambda: kl.Embedding(256, 2), kl.Flatten],
        [lambda: kl.Discretization([10.0, 100.0]), kl.Flatten, lambda: kl.Dense(2)],
        [lambda: kl.IntegerLookup(vocabulary=[1, 2, 3]), lambda: kl.Rescaling(0.5)],
    ],
)
def test_what_needs_integers_has_no_view(layers):
    assert float_input(sequential(*(layer() for layer in layers))) is None


def test_arithmetic_that_wraps_around_has_no_view():
    doubled = functional(lambda x: keras.ops.cast(x + x, "float32") / 255.0)
    assert float_input(doubled) is None
    bits = functional(lambda x: keras.ops.cast(keras.ops.bitwise_and(x, x), "float32"))
    assert float_input(bits) is None


def test_other_models_have_no_view():
    class Model(keras.Model):
        def call(self, x):
            return x

    assert float_input(Model()) is None
    one, two = keras.Input((2,), dtype="uint8"), keras.Input((2,), dtype="uint8")
    assert float_input(keras.Model([one, two], kl.Add()([one, two]))) is None
