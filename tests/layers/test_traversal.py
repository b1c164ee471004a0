"""Finding layers: order, nesting, subclasses, sharing."""

import keras

from tfrobust.layers import CenteredSoftplus, find_layers, learnable_activations


class Sharper(CenteredSoftplus):
    """A subclass."""


def test_order_nesting_and_subclasses():
    """Layers come in the model's order, through two levels of nesting."""
    first, second, third = CenteredSoftplus(), Sharper(), CenteredSoftplus()
    innermost = keras.Sequential([keras.Input((4,)), second, keras.layers.Dense(4)])
    inner = keras.Sequential([keras.Input((4,)), innermost])
    inputs = keras.Input((4,))
    model = keras.Model(inputs, third(inner(first(inputs))))
    assert find_layers(model, CenteredSoftplus) == [first, second, third]
    assert find_layers(model, Sharper) == [second]
    assert find_layers(model, keras.layers.Conv2D) == []


def test_a_shared_layer_comes_once():
    """A layer used twice, or in two nested models, is one layer."""
    shared = CenteredSoftplus()
    left = keras.Sequential([keras.Input((4,)), shared])
    right = keras.Sequential([keras.Input((4,)), shared])
    inputs = keras.Input((4,))
    model = keras.Model(inputs, shared(right(left(inputs))))
    assert find_layers(model, CenteredSoftplus) == [shared]


def test_subclassed_models():
    """A model that holds a network as an attribute is searched too."""

    class Wrapper(keras.Model):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def call(self, inputs):
            return self.network(inputs)

    layer = CenteredSoftplus()
    wrapper = Wrapper(keras.Sequential([keras.Input((4,)), layer]))
    assert find_layers(wrapper, CenteredSoftplus) == [layer]


def test_learnable_activations_leave_out_fixed_ones():
    """In the model's order, nested ones included."""
    inner = keras.Sequential([keras.Input((2,)), CenteredSoftplus(name="b")])
    fixed = CenteredSoftplus(1000.0, trainable=False)
    first = CenteredSoftplus(name="a")
    model = keras.Sequential([keras.Input((2,)), first, fixed, inner])
    assert [layer.name for layer in learnable_activations(model)] == ["a", "b"]
