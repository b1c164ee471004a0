"""Models without a derivative are refused by the name of the layer that lacks it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from tests.core.keras_layers import REFUSED, apply, make
from tests.seeds import set_seeds
from tfrobust import attacks, geometry
from tfrobust.core.differentiable import (
    layer_at,
    layers_named,
    require_second_derivative,
)
from tfrobust.core.gradients import gradient_and_hessian, input_gradient

SHAPE = (6, 5, 3)
IMAGES = np.random.default_rng(0).uniform(0.1, 0.9, (2, *SHAPE)).astype(np.float32)
LABELS = np.array([0, 1])


class Pooled(kl.Layer):
    """A layer whose derivative has none in TensorFlow."""

    def call(self, x):
        return tf.nn.fractional_max_pool(x, [1, 1.5, 1.5, 1], seed=1)[0]


class Rounded(kl.Layer):
    """One through which no gradient comes."""

    def call(self, x):
        return tf.round(8.0 * x) / 8.0


class Shuffled(kl.Layer):
    """One whose derivative TensorFlow leaves out without a word."""

    def call(self, x):
        return tf.random.shuffle(x)


def network(*layers):
    set_seeds(0)
    return keras.Sequential(
        [keras.Input(SHAPE), *layers, kl.Flatten(), kl.Dense(3, "tanh")]
    )


def skipping(layer):
    """A network with a second way around a layer, so that part of it is left."""
    set_seeds(0)
    inputs = keras.Input(SHAPE)
    ways = [kl.Flatten()(inputs), kl.Flatten()(layer(inputs))]
    return keras.Model(inputs, kl.Dense(3, "tanh")(kl.Concatenate()(ways)))


@pytest.mark.parametrize("build", [network, skipping])
def test_curvature_names_the_layer_without_a_second_derivative(build):
    model = build(Pooled(name="odd"))
    assert np.all(geometry.gradient_norm(model, IMAGES, LABELS) > 0)
    for call in (geometry.curvature, geometry.hessian_norm):
        with pytest.raises(ValueError) as caught:
            call(model, IMAGES, LABELS)
        assert str(caught.value) == (
            "`model` must be twice differentiable. Received: the layer 'odd' (Pooled) "
            "with the operation FractionalMaxPoolGrad, of which TensorFlow has no "
            "derivative"
        )


def attack(model):
    return attacks.PGD(norm="inf", eps=0.1, steps=1)(model, IMAGES, LABELS)


CALLS = {
    "an attack": attack,
    "DeepFool": lambda model: attacks.DeepFool()(model, IMAGES, LABELS),
    "the gradient": lambda model: geometry.gradient_norm(model, IMAGES, LABELS),
    "robustness": lambda model: geometry.robustness(model, IMAGES),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_layer_that_ends_every_gradient_is_named(call):
    inner = keras.Sequential([keras.Input(SHAPE), Rounded(name="eighths")])
    with pytest.raises(ValueError) as caught:
        CALLS[call](network(inner))
    assert str(caught.value) == (
        "`model` must be differentiable in its images. Received: the layer 'eighths' "
        "(Rounded) with the operation Round, through which no gradient comes"
    )


@pytest.mark.parametrize("call", CALLS)
def test_a_layer_that_loses_one_term_of_the_gradient_is_named(call):
    with pytest.raises(ValueError) as caught:
        CALLS[call](skipping(Shuffled(name="cards")))
    assert str(caught.value) == (
        "`model` must be differentiable in its images. Received: the layer 'cards' "
        "(Shuffled) with the operation RandomShuffle, of which TensorFlow has no "
        "derivative"
    )


@pytest.mark.parametrize("name", REFUSED)
def test_layers_of_keras_without_a_derivative_are_named(name):
    case, kind = REFUSED[name]
    layer = make(name, case, "float32")
    values = lambda x: tf.reduce_sum(  # noqa: E731
        tf.cast(apply(layer, case, x), tf.float32), axis=[1, 2, 3]
    )
    gradient = tf.function(lambda x: input_gradient(values, x), autograph=False)
    inner = keras.Sequential([keras.Input(SHAPE), layer])
    with pytest.raises(ValueError, match=f"'{layer.name}' .*{kind}"):
        with layers_named(inner):
            gradient(tf.constant(IMAGES))


def test_a_linear_and_a_piecewise_linear_model_are_flat():
    """Their zero is one; in a graph and eagerly."""
    kernel = tf.constant(np.random.default_rng(0).normal(size=(90, 1)), tf.float32)

    def linear(x):
        return (tf.reshape(x, [-1, 90]) @ kernel)[:, 0]

    def bent(x):
        return tf.nn.relu(linear(tf.nn.max_pool2d(x, 1, 1, "VALID")))

    for values in (linear, bent):

        def product(x, values=values):
            return gradient_and_hessian(values, x)[1](tf.ones_like(x))

        for run in (product, tf.function(product, autograph=False)):
            assert not np.any(run(tf.constant(IMAGES)))


def test_eagerly_a_second_derivative_is_looked_at_too():
    def values(x):
        pooled = tf.nn.fractional_max_pool(x, [1, 1.5, 1.5, 1], seed=1)[0]
        return tf.reduce_sum(tf.sin(pooled), axis=[1, 2, 3])

    with pytest.raises(ValueError, match="`model` must be twice differentiable"):
        gradient_and_hessian(values, tf.constant(IMAGES))


def test_a_variance_that_was_traced_before_is_refused():
    """And one that is traced now has its second derivative."""

    def normalized(x):
        mean, variance = tf.nn.moments(x, [1, 2, 3], keepdims=True)
        return tf.reduce_sum(((x - mean) / tf.sqrt(variance + 0.1)) ** 3, [1, 2, 3])

    before = tf.function(normalized, autograph=False)
    before(tf.constant(IMAGES))
    run = tf.function(lambda x: gradient_and_hessian(before, x)[0], autograph=False)
    with pytest.raises(ValueError, match="SquaredDifference .* held fixed"):
        run(tf.constant(IMAGES))
    vectors = np.random.default_rng(1).normal(size=IMAGES.shape)

    def both(x):
        gradient, product = gradient_and_hessian(normalized, x)
        return gradient, product(tf.cast(vectors, x.dtype))

    wide = IMAGES.astype(np.float64)
    _, product = both(tf.constant(wide))
    ends = [both(tf.constant(wide + sign * 1e-5 * vectors))[0] for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / 2e-5
    np.testing.assert_allclose(product, expected, atol=1e-6 * np.abs(expected).max())


def test_a_derivative_of_ones_own_is_taken_at_its_word():
    @tf.custom_gradient
    def straight(x):
        return tf.round(x), lambda upstream: upstream * tf.cos(x)

    def values(x):
        return tf.reduce_sum(straight(x), axis=[1, 2, 3])

    @tf.function(autograph=False)
    def product(x):
        return gradient_and_hessian(values, x)[1](tf.ones_like(x))

    np.testing.assert_allclose(product(IMAGES), -np.sin(IMAGES), rtol=1e-5)


def test_a_source_may_come_from_an_outer_graph():
    @tf.function(autograph=False)
    def outer(x):
        @tf.function(autograph=False)
        def inner():
            with tf.GradientTape() as tape:
                tape.watch(x)
                pooled = tf.nn.fractional_max_pool(x, [1, 1.5, 1.5, 1], seed=1)[0]
            gradient = tape.gradient(pooled, x)
            require_second_derivative(x, gradient)
            return gradient

        return inner()

    with pytest.raises(ValueError, match="FractionalMaxPoolGrad"):
        outer(tf.constant(IMAGES))


def test_the_innermost_layer_is_found_however_often_it_is_called():
    inner = keras.Sequential([keras.Input(SHAPE), kl.Flatten(name="flat")], name="in")
    model = network(inner)
    assert layer_at(model, f"{model.name}_3/in_1/flat/Reshape").name == "flat"
    assert layer_at(model, f"gradient_tape/{model.name}/in/x/Reshape").name == "in"
    assert layer_at(model, "Reshape") is None
    assert layer_at(lambda x: x, "a/b") is None
