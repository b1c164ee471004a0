"""Nested models, shared layers and image sizes; what is refused."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from tests.models.conversions import SHAPE, settled, some_images, vgg
from tests.seeds import set_seeds
from tfrobust import geometry, models
from tfrobust.layers import SpectralConv2D, find_layers


def message(call):
    with pytest.raises(ValueError) as error:
        call()
    return str(error.value)


def block(shape, name, filters=4):
    """A small convolutional model, to be nested."""
    inputs = keras.Input(shape)
    x = kl.Conv2D(filters, 3, padding="same", name="conv")(inputs)
    x = kl.BatchNormalization(name="norm")(x)
    return keras.Model(inputs, kl.ReLU(name="relu")(x), name=name)


def nested(shape=SHAPE):
    """Models in models: one functional, one a sequence with another in it."""
    set_seeds(6)
    inputs = keras.Input(SHAPE)
    x = block(shape, "body")(inputs)
    inner = keras.Sequential([kl.Dense(5, "relu", name="dense")], name="inner")
    head = keras.Sequential([kl.Flatten(), inner, kl.Dense(3)], name="head")
    return settled(keras.Model(inputs, head(x)))


@pytest.mark.parametrize("shape", [SHAPE, (None, None, 3)])
def test_nested_models(shape):
    """Converted in place, named by their path; open sizes are those of the call."""
    network, x = nested(shape), some_images()
    same, _ = models.curvature_recipe(network, beta=1e6, gamma=1e6)
    np.testing.assert_allclose(same(x), network(x), atol=2e-5)
    low, report = models.to_low_curvature(network)
    names = [change.name for change in report.changes if change.changed]
    assert names[:3] == ["body/conv", "body/norm", "body/relu"]
    assert names[3] == "head/inner/dense"
    assert report.unbounded == ()
    assert np.isfinite(geometry.curvature_bound(low).hessian)
    assert low.get_layer("body").input_shape == (None, *SHAPE)


def test_a_nested_model_and_the_layer_in_it_are_one():
    """A layer that two models share is one layer afterwards."""
    shared = kl.Dense(4, name="shared")
    inputs, inner = keras.Input((4,)), keras.Input((4,))
    body = keras.Model(inner, shared(inner), name="body")
    network = keras.Model(inputs, shared(kl.ReLU()(body(inputs))))
    low, report = models.to_low_curvature(network)
    assert low.get_layer("shared") is low.get_layer("body").get_layer("shared")
    assert len(report.changes) == 2


def test_a_layer_that_is_called_twice():
    """It stays one layer, at one size; its activation too."""
    set_seeds(1)
    layer = kl.Conv2D(3, 3, padding="same", activation="relu", name="twice")
    inputs = keras.Input(SHAPE)
    network = settled(keras.Model(inputs, layer(layer(inputs))))
    same, _ = models.curvature_recipe(network, beta=1e6)
    x = some_images()
    np.testing.assert_allclose(same(x), network(x), atol=1e-5)
    low, report = models.to_low_curvature(network)
    assert [layer.name for layer in low.layers[1:]] == ["twice", "twice_activation"]
    assert len(report.changes) == 1
    norm = float(low.get_layer("twice").spectral_norm())
    np.testing.assert_allclose(low.get_layer("twice").bias, layer.bias / norm)


def test_a_dense_layer_has_no_size():
    """It is shared by vectors and by images."""
    layer = kl.Dense(3, name="both")
    inputs = keras.Input(SHAPE)
    x = kl.GlobalAveragePooling2D()(layer(inputs))
    low, _ = models.to_low_curvature(keras.Model(inputs, layer(x)))
    assert low.output_shape == (None, 3)


def test_two_sizes_are_refused():
    layer = kl.Conv2D(3, 3, padding="same", name="twice")
    inputs = keras.Input(SHAPE)
    network = keras.Model(inputs, layer(kl.AveragePooling2D(2)(layer(inputs))))
    expected = (
        "`network` must call a convolution at one image size alone, since its norm "
        "depends on the size. Received: the layer named 'twice' at (8, 6) and (4, 3)"
    )
    assert message(lambda: models.to_low_curvature(network)) == expected
    assert models.curvature_recipe(network).network.output_shape == (None, 4, 3, 3)


def test_two_sizes_of_a_nested_model_are_refused():
    body = block((None, None, 3), "body", filters=3)
    inputs = keras.Input(SHAPE)
    network = keras.Model(inputs, body(kl.AveragePooling2D(2)(body(inputs))))
    text = message(lambda: models.to_low_curvature(network))
    assert text.endswith("the layer named 'body' at (8, 6, 3) and (4, 3, 3)")


def test_open_sizes_need_an_input_shape():
    network = settled(block((None, None, 3), "open"))
    expected = (
        "`network` must have a known image size, on which the norm of a convolution "
        "depends; give `input_shape`. "
        "Received: (None, None, None, 3) at the layer named 'conv'"
    )
    assert message(lambda: models.to_low_curvature(network)) == expected
    low, _ = models.to_low_curvature(network, input_shape=SHAPE)
    assert low.input_shape == (None, *SHAPE)
    assert find_layers(low, SpectralConv2D)[0].input_size == SHAPE[:2]
    same, _ = models.curvature_recipe(network)
    assert same.input_shape == (None, None, None, 3)


class Own(keras.Model):
    """A model with a call of its own."""

    def __init__(self):
        super().__init__(name="own")
        self.dense = kl.Dense(3)

    def call(self, x):
        return self.dense(x)


def with_own():
    inputs = keras.Input((4,))
    return keras.Model(inputs, Own()(inputs))


_KIND = (
    "`network` must be a built functional or sequential Keras model, and so must "
    "models in it. Received: "
)


@pytest.mark.parametrize("convert", [models.to_low_curvature, models.curvature_recipe])
@pytest.mark.parametrize(
    ("make", "received"),
    [
        (Own, "a Own named 'own'"),
        (with_own, "a Own named 'own'"),
        (lambda: keras.Sequential([kl.Dense(2)], name="open"), "a Sequential named 'o"),
        (lambda: kl.Dense(2, name="layer"), "a Dense named 'layer'"),
        (lambda: 3, "a int named None"),
    ],
)
def test_other_models_are_refused(convert, make, received):
    assert message(lambda: convert(make())).startswith(_KIND + received)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"beta": 0.0}, "`beta` must be a finite number above 0. Received: beta=0.0"),
        ({"gamma": -1}, "`gamma` must be a finite number above 0. Received: gamma=-1"),
        (
            {"power_iterations": 0},
            "`power_iterations` must be an integer of at least 1. "
            "Received: power_iterations=0",
        ),
        (
            {"input_shape": (8, 7, 3)},
            "`input_shape` must fit the network's, (None, 8, 6, 3). "
            "Received: input_shape=(8, 7, 3)",
        ),
    ],
)
def test_bad_settings(settings, expected):
    network = vgg()
    assert message(lambda: models.to_low_curvature(network, **settings)) == expected


def test_arguments_that_a_replacement_does_not_take():
    inputs, mask = keras.Input((3, 4)), keras.Input((3,), dtype="bool")
    norm = kl.BatchNormalization(name="norm")
    network = keras.Model([inputs, mask], norm(inputs, mask=mask))
    assert message(lambda: models.curvature_recipe(network)) == (
        "`network` must call a layer that is converted with one tensor, and with no "
        "setting but `training`. Received: the layer named 'norm' with 2 tensors and []"
    )


def test_masks_go_through():
    """What an average leaves out, it leaves out afterwards."""
    inputs = keras.Input((5, 4))
    x = kl.Dense(3, "relu")(kl.Masking()(inputs))
    network = keras.Model(inputs, kl.GlobalAveragePooling1D()(kl.ReLU()(x)))
    network.layers[2].bias.assign([0.3, -0.2, 0.5])
    x = some_images(2, (5, 4))
    x[:, 2:] = 0.0
    same, _ = models.curvature_recipe(network, beta=1e6)
    np.testing.assert_allclose(same(x), network(x), atol=1e-5)
    low, _ = models.to_low_curvature(network)
    first = low.get_layer(network.layers[2].name)
    features = keras.Model(low.input, low.layers[-2].output)(x).numpy()
    np.testing.assert_allclose(low(x), features[:, :2].mean(axis=1), atol=1e-6)
    assert first.supports_masking


@pytest.mark.parametrize("where", ["model", "layer"])
def test_settings_of_a_call_are_kept(where):
    """`body(x, training=False)` is written in the graph as it was."""
    inputs = keras.Input(SHAPE)
    norm = kl.BatchNormalization(name="norm")
    called = block(SHAPE, "body") if where == "model" else norm
    network = settled(keras.Model(inputs, called(inputs, training=False)))
    for convert in (models.to_low_curvature, models.curvature_recipe):
        low, _ = convert(network)
        entries = {entry["name"]: entry for entry in low.get_config()["layers"]}
        (node,) = entries[called.name]["inbound_nodes"]
        assert node["kwargs"]["training"] is False


def test_an_input_in_a_list():
    inputs = keras.Input((None, None, 3))
    network = keras.Model([inputs], [kl.Conv2D(2, 3)(inputs)])
    low, _ = models.to_low_curvature(network, input_shape=SHAPE)
    assert low([some_images()]).shape == network([some_images()]).shape == (4, 6, 4, 2)
