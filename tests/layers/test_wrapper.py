"""A wrapper answers, saves and is searched as the network in it."""

import keras
import numpy as np
import pytest

from tfrobust.layers import NetworkWrapper, find_layers, network_of


@pytest.fixture
def network():
    inputs = keras.Input((4, 3, 2))
    x = keras.layers.Conv2D(3, 2)(inputs)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))


def some_images():
    return np.random.default_rng(0).random((3, 4, 3, 2), np.float32)


def test_it_answers_as_its_network_in_both_modes(network):
    wrapper = NetworkWrapper(network)
    for training in (False, True):
        np.testing.assert_array_equal(
            wrapper(some_images(), training=training),
            network(some_images(), training=training),
        )


def test_a_wrapper_of_a_wrapper_has_the_same_network(network):
    """And what is no wrapper is its own, even if it has an attribute of that name."""

    class Other(keras.Model):
        def __init__(self):
            super().__init__()
            self.network = network

    other = Other()
    inner = NetworkWrapper(network)
    assert NetworkWrapper(inner).network is network_of(inner) is network
    assert network_of(network) is network and network_of(other) is other
    assert network_of(None) is None


def test_its_layers_are_those_of_its_network(network):
    """Without itself, so that nothing differs between the two."""
    wrapper = NetworkWrapper(network)
    layers = find_layers(wrapper, keras.layers.Layer)
    assert layers == find_layers(network, keras.layers.Layer)
    assert wrapper not in layers and len(layers) == 1 + len(network.layers)


def test_it_is_saved_with_its_weights(network, tmp_path):
    NetworkWrapper(network, name="outer").save(tmp_path / "wrapper.keras")
    again = keras.saving.load_model(tmp_path / "wrapper.keras", safe_mode=True)
    assert isinstance(again, NetworkWrapper) and again.name == "outer"
    assert type(again.network) is type(network)
    for old, new in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
