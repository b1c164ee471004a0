"""Which activations become a centered softplus, in whichever place they stand."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from tfrobust import models
from tfrobust.layers import CenteredSoftplus, find_layers

EXACT = {
    "layer": lambda x: kl.ReLU()(x),
    "capped": lambda x: kl.ReLU(max_value=0.7)(x),
    "by name": lambda x: kl.Activation("relu")(x),
    "relu6": lambda x: kl.Activation("relu6")(x),
    "in a dense layer": lambda x: kl.Dense(4, "relu", use_bias=False)(x),
    "in a convolution": lambda x: kl.Flatten()(
        kl.Conv2D(3, 1, activation="relu")(kl.Reshape((4, 4, 1))(x))
    ),
    "operation": lambda x: keras.ops.relu(x),
    "operation with settings": lambda x: keras.activations.relu(x, max_value=0.5),
    "operation relu6": lambda x: keras.ops.relu6(x),
}
LOST = {
    "its values below zero are lost": [
        kl.LeakyReLU(0.1),
        kl.PReLU(),
        kl.ELU(),
        kl.ReLU(negative_slope=0.2),
        kl.Activation("selu"),
        kl.Activation("leaky_relu"),
    ],
    "its dip below zero is lost": [
        kl.Activation(name) for name in ("swish", "silu", "gelu", "hard_swish", "mish")
    ],
    "its value at zero is lost": [kl.Activation("softplus")],
    "its threshold is lost": [kl.ReLU(threshold=0.5)],
}


def network_of(function):
    inputs = keras.Input((16,))
    return keras.Model(inputs, kl.Dense(3, name="last")(function(inputs)))


@pytest.mark.parametrize("place", EXACT)
def test_relu_comes_back_as_beta_grows(place):
    """At beta 1e6 the recipe's answers are the network's; at 2 they are not."""
    network = network_of(EXACT[place])
    x = np.random.default_rng(0).standard_normal((5, 16)).astype("float32")
    sharp, report = models.curvature_recipe(network, beta=1e6)
    np.testing.assert_allclose(sharp(x), network(x), atol=2e-5)
    assert not any("lost" in change.note for change in report.changes)
    soft, _ = models.curvature_recipe(network, beta=2.0)
    assert np.abs(soft(x) - network(x)).max() > 1e-2
    (layer,) = find_layers(soft, CenteredSoftplus)
    np.testing.assert_allclose(float(layer.beta), 2.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("lost", "layer"), [(lost, layer) for lost in LOST for layer in LOST[lost]]
)
def test_what_is_lost_is_said(lost, layer):
    network = network_of(layer)
    low, report = models.curvature_recipe(network)
    assert report.changes[0].note == lost
    assert [type(layer) for layer in low.layers[1:]] == [CenteredSoftplus, kl.Dense]
    assert low.layers[1].name == layer.name


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "linear", "softmax", "softsign"])
def test_what_is_no_rectifier_is_kept(name):
    """In a layer of its own and inside a dense layer."""
    for function in (kl.Activation(name), kl.Dense(16, name)):
        network = network_of(function)
        x = np.random.default_rng(0).standard_normal((5, 16)).astype("float32")
        same, _ = models.curvature_recipe(network)
        np.testing.assert_allclose(same(x), network(x), rtol=1e-5, atol=1e-6)
        assert not find_layers(same, CenteredSoftplus)
    low, _ = models.to_low_curvature(network)
    kinds = [type(layer).__name__ for layer in low.layers[1:]]
    behind = [] if name == "linear" else ["Activation"]
    assert kinds == ["SpectralDense", *behind, "SpectralDense"]


def test_a_namesake_is_kept():
    @keras.saving.register_keras_serializable(package="test")
    def relu(x):
        return 5.0 * keras.ops.tanh(x)

    network = network_of(kl.Activation(relu, name="mine"))
    low, report = models.to_low_curvature(network)
    assert report.unbounded == ("mine",)
    assert not find_layers(low, CenteredSoftplus)
