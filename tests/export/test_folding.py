"""Folding: the same function of the image, with kernels that nothing computes anew."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.folding import constants, fold, fold_or_keep
from tests.export.foldable import SHAPE, settled, some_images
from tfrobust import models
from tfrobust.layers import (
    LipschitzBatchNormalization,
    SpectralConv2D,
    SpectralDense,
)
from tfrobust.training import RobustModel

NETWORKS = {
    "resnet": lambda variant: models.ResNet18(SHAPE, 5, variant, width=3),
    "vgg": lambda variant: models.VGG11((32, 32, 3), 5, variant, width=2),
    "mlp": lambda variant: models.MLP(SHAPE, 5, variant, hidden=(7,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["standard", "lcnn"])
@pytest.mark.parametrize("name", NETWORKS)
def test_same_answers_and_gradients(name, variant):
    """Of every family of networks here, to float32 rounding, also in the gradient."""
    model = settled(NETWORKS[name](variant))
    shape = model.input_shape[1:]
    images = tf.constant(np.random.default_rng(1).random((3, *shape), np.float32))
    folded = fold(model)

    def answer(network):
        with tf.GradientTape() as tape:
            tape.watch(images)
            logits = network(images, training=False)
            loss = tf.reduce_sum(logits * tf.range(5.0))
        return logits.numpy(), tape.gradient(loss, images).numpy()

    for ours, theirs in zip(answer(folded), answer(model), strict=True):
        size = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * size)
        assert size > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_left_to_compute(name):
    """No spectral layer and no batch norm behind a convolution; the model is as was."""
    model = settled(NETWORKS[name]("lcnn"))
    before = model.get_weights()
    kinds = {type(layer) for layer in fold(model).layers}
    assert not kinds & {SpectralConv2D, SpectralDense, LipschitzBatchNormalization}
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_cannot_be_folded_stays():
    """A norm before any convolution, one whose input is used elsewhere too, one behind
    an activation, one over another axis, and the last layer's output.
    """
    image = keras.Input(SHAPE)
    x = keras.layers.BatchNormalization(name="first")(image)
    x = keras.layers.Conv2D(4, 3, activation="relu", padding="same", name="relu")(x)
    x = keras.layers.BatchNormalization(name="behind_relu")(x)
    shared = keras.layers.Conv2D(4, 3, padding="same", name="shared")(x)
    y = keras.layers.BatchNormalization(name="forked")(shared)
    x = keras.layers.Add()([shared, y])
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(x)
    x = keras.layers.BatchNormalization(axis=1, name="rows")(x)
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="plain")(x)
    x = keras.layers.BatchNormalization(scale=False, center=False, name="plain_norm")(x)
    logits = keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(x))
    model = settled(keras.Model(image, logits))
    folded = fold(model)
    kinds = {layer.name: type(layer).__name__ for layer in folded.layers}
    for name in ("first", "behind_relu", "forked", "rows"):
        assert kinds[name] == "BatchNormalization", name
    assert kinds["plain_norm"] == "Identity"
    images = some_images()
    np.testing.assert_allclose(
        folded(images), model(images, training=False), rtol=1e-4, atol=1e-5
    )


def moved(norm):
    """A batch norm whose statistics, scale and shift all matter."""
    four = np.array([0.5, -1.0, 0.2, 2.0])
    norm.set_weights([four, 0.3 * four, four[::-1], np.array([0.4, 2.0, 1.0, 3.0])])


def conv(name="conv", **settings):
    return keras.layers.Conv2D(4, 3, padding="same", name=name, **settings)


def batch_norm(name="norm", **settings):
    return keras.layers.BatchNormalization(name=name, **settings)


def used_by_an_operation(image):
    x = conv()(image)
    return 2.0 * x + batch_norm()(x)


def used_by_a_layer_of_two_calls(image):
    x, relu = conv()(image), keras.layers.ReLU()
    return relu(x) - relu(batch_norm()(x))


def used_as_a_keyword(image):
    x = conv()(image)
    return keras.layers.Attention()([batch_norm()(x), x])


def norm_of_two_convolutions(image):
    norm = batch_norm()
    return norm(conv("one")(image)) - 2.0 * norm(conv("two")(image))


def norm_by_the_batch(image):
    """The norm is told to take the statistics of the batch, in inference too."""
    return batch_norm()(conv()(image), training=True)


class Shifted(keras.layers.Conv2D):
    """A convolution that is none."""

    def call(self, inputs):
        return super().call(inputs) + 1.0


def kind_of_convolution(image):
    return batch_norm()(Shifted(4, 3, padding="same", name="conv")(image))


@pytest.mark.parametrize(
    "graph",
    [
        used_by_an_operation,
        used_by_a_layer_of_two_calls,
        used_as_a_keyword,
        norm_of_two_convolutions,
        norm_by_the_batch,
        kind_of_convolution,
    ],
)
def test_a_norm_that_is_not_the_only_use_stays(graph):
    """Whatever else takes the convolution's output, or the norm takes; and a norm that
    is no constant, and a convolution that is more than one.
    """
    image = keras.Input(SHAPE)
    model = keras.Model(image, keras.layers.Flatten()(graph(image)))
    moved(model.get_layer("norm"))
    images, folded = some_images(), fold(model)
    assert isinstance(folded.get_layer("norm"), keras.layers.BatchNormalization)
    np.testing.assert_allclose(folded(images), model(images), rtol=1e-5, atol=1e-5)


def test_an_output_of_the_model_stays():
    """A convolution that the caller sees, and a norm that does; by name, too."""
    image = keras.Input(SHAPE)
    seen = conv("seen")(image)
    last = batch_norm("last")(conv("hidden")(batch_norm("stays")(seen)))
    model = keras.Model(image, {"seen": seen, "last": [last]})
    for name in ("stays", "last"):
        moved(model.get_layer(name))
    images, folded = some_images(), fold(model)
    assert isinstance(folded.get_layer("stays"), keras.layers.BatchNormalization)
    assert isinstance(folded.get_layer("last"), keras.layers.Identity)
    ours, theirs = folded(images), model(images)
    np.testing.assert_array_equal(ours["seen"], theirs["seen"])
    np.testing.assert_allclose(ours["last"][0], theirs["last"][0], rtol=1e-5, atol=1e-5)


def test_layers_of_another_model_are_judged_by_this_one():
    """That a convolution is called a second time elsewhere does not matter here."""
    image = keras.Input(SHAPE)
    shared = conv()
    x = batch_norm()(shared(image))
    model = keras.Model(image, keras.layers.Flatten()(x))
    moved(model.get_layer("norm"))
    other = keras.Input(SHAPE)
    keras.Model(other, shared(other))
    images, folded = some_images(), fold(model)
    assert isinstance(folded.get_layer("norm"), keras.layers.Identity)
    np.testing.assert_allclose(folded(images), model(images), rtol=1e-5, atol=1e-5)


def test_nested_models_are_folded_each_by_itself():
    """One of each kind, the first called twice; a norm behind one of them stays."""
    part = keras.Input((8, 6, 4))
    nested = keras.Model(part, batch_norm()(conv()(part)), name="nested")
    chain = keras.Sequential(
        [keras.Input((8, 6, 4)), SpectralConv2D(4, 3), batch_norm()], name="chain"
    )
    image = keras.Input(SHAPE)
    x = nested(nested(conv("first")(image)))
    x = batch_norm("behind")(chain(x))
    model = keras.Model(image, keras.layers.Flatten()(x))
    for norm in (nested.get_layer("norm"), chain.get_layer("norm"), model.layers[-2]):
        moved(norm)
    images, folded = some_images(), fold(model)
    for name in ("nested", "chain"):
        kinds = {type(layer) for layer in folded.get_layer(name).layers}
        assert keras.layers.Identity in kinds, name
        assert not kinds & {keras.layers.BatchNormalization, SpectralConv2D}, name
    assert isinstance(folded.get_layer("behind"), keras.layers.BatchNormalization)
    np.testing.assert_allclose(folded(images), model(images), rtol=1e-4, atol=1e-4)


def test_the_precision_of_the_session_does_not_matter():
    """What stands in for a norm has the norm's precision, not the one in force."""
    image = keras.Input(SHAPE)
    x = batch_norm(dtype="float32")(conv(dtype="float32")(image))
    model = keras.Model(image, keras.layers.Flatten(dtype="float32")(x))
    moved(model.get_layer("norm"))
    images = some_images()
    keras.config.set_dtype_policy("mixed_bfloat16")
    folded = fold(model)
    assert isinstance(folded.get_layer("norm"), keras.layers.Identity)
    np.testing.assert_allclose(folded(images), model(images), rtol=1e-5, atol=1e-5)


def test_convolutions_in_front_of_a_sum_stay():
    """What follows may take several tensors."""
    image = keras.Input(SHAPE)
    branches = [keras.layers.Conv2D(2, 1)(image) for _ in range(2)]
    logits = keras.layers.Flatten()(keras.layers.Add()(branches))
    model, images = keras.Model(image, logits), some_images()
    np.testing.assert_allclose(fold(model)(images), model(images), rtol=1e-5)


def test_a_sequence_of_layers():
    """Is a graph too, with a norm at its end and one in front."""
    model = settled(
        keras.Sequential(
            [
                keras.Input(SHAPE),
                keras.layers.BatchNormalization(),
                SpectralConv2D(4, 3),
                LipschitzBatchNormalization(),
                keras.layers.Flatten(),
                SpectralDense(3, use_bias=False),
                keras.layers.BatchNormalization(),
            ]
        )
    )
    images, folded = some_images(), fold(model)
    np.testing.assert_allclose(
        folded(images), model(images, training=False), rtol=1e-4, atol=1e-5
    )
    assert sum(isinstance(x, keras.layers.Identity) for x in folded.layers) == 2


def test_a_layer_that_is_called_twice_stays():
    """Two calls of one convolution, one of them before a norm."""
    image = keras.Input(SHAPE)
    conv = keras.layers.Conv2D(3, 3, padding="same", name="conv")
    x = keras.layers.BatchNormalization(name="norm")(conv(conv(image)))
    model = settled(keras.Model(image, keras.layers.Flatten()(x)))
    images = some_images()
    np.testing.assert_allclose(
        fold(model)(images), model(images, training=False), rtol=1e-4, atol=1e-5
    )


class Doubled(type(keras.Model(i := keras.Input((1,)), i))):
    """A model with a graph that answers otherwise than its graph says."""

    def call(self, x, training=None, mask=None):
        return 2.0 * super().call(x, training=training, mask=mask)


class Twice(keras.Sequential):
    """A sequence of the same kind."""

    def call(self, x, training=None, mask=None):
        return 2.0 * super().call(x, training=training, mask=mask)


class Opaque(keras.layers.Layer):
    """A layer that cannot be made again from its configuration."""

    def __init__(self, function, **settings):
        super().__init__(**settings)
        self.function = function

    def call(self, x):
        return self.function(x)

    def get_config(self):
        return super().get_config()


def small(*layers):
    """Those layers, then a spectral convolution and a dense layer."""
    x = image = keras.Input(SHAPE)
    for layer in layers:
        x = layer(x)
    x = keras.layers.Flatten()(SpectralConv2D(3, 3)(x))
    return settled(keras.Model(image, keras.layers.Dense(4)(x)))


def test_layers_that_stay_are_the_models_own():
    """So a layer is served with all that it holds, which may be more than its weights
    and settings: statistics that were adapted, a function.
    """
    adapted = keras.layers.Normalization()
    adapted.adapt(7.0 + 3.0 * some_images(16))
    opaque = Opaque(lambda x: x**2)
    anonymous = keras.layers.Lambda(lambda x: x - 0.25)
    model = small(adapted, opaque, anonymous)
    folded = fold(model)
    assert folded.get_layer(opaque.name) is opaque
    images = some_images()
    for _ in range(2):
        np.testing.assert_allclose(folded(images), model(images), rtol=1e-4, atol=1e-5)
        # Folding once more finds the same graph.
        assert len(fold(model).layers) == len(model.layers)
    assert type(folded.layers[-3]) is keras.layers.Conv2D


def test_a_model_with_a_call_of_its_own_is_no_graph():
    """It is refused, and stays as it is inside of another one."""
    x = keras.Input(SHAPE)
    inner = Doubled(x, SpectralConv2D(3, 3)(x))
    sequence = Twice([keras.Input(SHAPE), keras.layers.Flatten()])
    for model in (inner, sequence):
        with pytest.raises(ValueError, match=r"^`model` must be a functional or sequ"):
            fold(model)
    outer = keras.Model(x, keras.layers.Flatten()(inner(x)))
    images = some_images()
    np.testing.assert_allclose(fold(outer)(images), outer(images), rtol=1e-5)


def test_a_diverged_kernel_stays_diverged():
    """NaN is served as NaN, not hidden."""
    model = models.MLP(SHAPE, 5, "lcnn", hidden=(7,))
    kernel = model.layers[2].kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    assert np.isnan(fold(model)(some_images())).all()


def test_models_of_another_kind_are_refused():
    """In one sentence."""

    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match=r"^`model` must be a functional or sequ"):
        fold(Own())


def test_a_model_that_trains_is_folded_as_its_network():
    """Into the same layers, and never into a network with the wrapper around it."""
    network = settled(models.MLP(SHAPE, 5, "lcnn", hidden=(7,)))
    model = RobustModel(network)
    for change in (fold, fold_or_keep):
        folded, expected = change(model), change(network)
        assert [type(layer) for layer in folded.layers] == [
            type(layer) for layer in expected.layers
        ]
        np.testing.assert_array_equal(folded(some_images()), expected(some_images()))
    assert constants(model).keys() == constants(network).keys()
