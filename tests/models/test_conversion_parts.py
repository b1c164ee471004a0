"""What stands for single layers: their matrix over its norm, their norm and scale."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from tests.layers.explicit import matrix_of
from tests.models.conversions import SHAPE, settled, some_images
from tests.seeds import set_seeds
from tfrobust import layers, models

SHAPE4 = (7, 6, 4)
LINEAR = {
    "conv": lambda: kl.Conv2D(3, (3, 2), strides=(2, 1), padding="same"),
    "dilated": lambda: kl.Conv2D(3, 3, dilation_rate=(1, 2)),
    "grouped": lambda: kl.Conv2D(6, 3, groups=2, strides=2, padding="same"),
    "one group a channel": lambda: kl.Conv2D(8, 3, groups=4, padding="same"),
    "depthwise": lambda: kl.DepthwiseConv2D(3, strides=2, depth_multiplier=2),
    "transposed": lambda: kl.Conv2DTranspose(3, (3, 2), strides=2, padding="same"),
    "dense": lambda: kl.Dense(5),
}


def alone(layer, shape):
    set_seeds(4)
    inputs = keras.Input(shape)
    return settled(keras.Model(inputs, layer(inputs)))


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_layers_are_divided_by_the_norm_of_their_matrix(kind):
    """Matrix, bias and report against NumPy's SVD of what Keras's layer answers."""
    network = alone(LINEAR[kind](), SHAPE4)
    low, report = models.to_low_curvature(network)
    if kind == "dense":  # On the last axis: one block for each pixel.
        norm = np.linalg.norm(np.float64(network.layers[1].kernel.numpy()), 2)
    else:
        norm = np.linalg.norm(matrix_of(network, SHAPE4), 2)
    x = some_images(3, SHAPE4)
    np.testing.assert_allclose(low(x), network(x) / norm, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(matrix_of(low, SHAPE4), 2), 1.0, rtol=1e-4
    )
    (change,) = report.changes
    assert change.note == f"divided by {norm:.4g}"
    assert change.lipschitz == 1.0
    assert isinstance(low.layers[1], layers.SpectralLayer)
    assert low.layers[1].name == network.layers[1].name


def test_a_separable_convolution_becomes_two_layers():
    """Its answers are divided by the product of both norms."""
    layer = kl.SeparableConv2D(3, 3, padding="same", name="both", depth_multiplier=2)
    network = alone(layer, SHAPE4)
    low, report = models.to_low_curvature(network)
    assert [layer.name for layer in low.layers[1:]] == ["both_depthwise", "both"]
    depthwise = kl.DepthwiseConv2D(3, padding="same", depth_multiplier=2)
    depthwise.build((None, *SHAPE4))
    depthwise.kernel.assign(layer.depthwise_kernel)
    pointwise = np.float64(layer.pointwise_kernel.numpy()[0, 0])
    norm = np.linalg.norm(matrix_of(depthwise, SHAPE4), 2)
    norm *= np.linalg.norm(pointwise, 2)
    x = some_images(3, SHAPE4)
    np.testing.assert_allclose(low(x), network(x) / norm, rtol=1e-4, atol=1e-5)
    assert report.changes[0].after == "SpectralDepthwiseConv2D, SpectralConv2D"


@pytest.mark.parametrize("affine", [True, False])
def test_a_batch_norm_behind_a_convolution_normalizes_as_before(affine):
    """Statistics of the divided features, and all scales divided by the largest."""
    inputs = keras.Input(SHAPE)
    conv = kl.Conv2D(4, 3, name="conv", kernel_initializer="random_normal")
    norm = kl.BatchNormalization(name="norm", epsilon=0.05)
    network = settled(keras.Model(inputs, norm(conv(inputs))))
    norm.moving_variance.assign(0.01 * norm.moving_variance)
    low, report = models.to_low_curvature(network, gamma=1e6, affine=affine)
    x = some_images()
    truth = network(x).numpy()
    scale, shift = norm.gamma.numpy(), norm.beta.numpy()
    expected = (truth - shift) / scale
    if affine:
        expected = expected * scale / max(1.0, np.abs(scale).max()) + shift
    np.testing.assert_allclose(low(x), expected, rtol=2e-4, atol=2e-5)
    note = report.changes[1].note
    assert ("its scale and shift are lost" in note) is not affine
    assert "statistics divided by" in note


def test_gamma_bounds_the_batch_norm():
    inputs = keras.Input(SHAPE)
    norm = kl.BatchNormalization(scale=False, center=False)
    network = settled(keras.Model(inputs, norm(inputs)))
    norm.moving_variance.assign([1e-4, 1.0, 4.0])
    low, report = models.to_low_curvature(network, gamma=2.0)
    assert [type(layer) for layer in low.layers[1:]] == [
        layers.LipschitzBatchNormalization
    ]
    matrix = matrix_of(low, SHAPE)
    np.testing.assert_allclose(np.linalg.norm(matrix, 2), 2.0, rtol=1e-4)
    np.testing.assert_allclose(report.changes[0].lipschitz, 2.0, rtol=1e-6)


def test_settings_of_a_batch_norm_are_kept():
    norm = kl.BatchNormalization(momentum=0.7, epsilon=0.02, synchronized=True)
    network = alone(norm, SHAPE)
    made = models.curvature_recipe(network).network.layers[1].get_config()
    kept = {key: made[key] for key in ("momentum", "epsilon", "synchronized")}
    assert kept == {"momentum": 0.7, "epsilon": 0.02, "synchronized": True}


def test_a_kernel_of_zeros_stays_zero():
    layer = kl.Dense(3)
    network = alone(layer, (4,))
    layer.kernel.assign(np.zeros((4, 3)))
    low, _ = models.to_low_curvature(network)
    np.testing.assert_allclose(low(np.ones((2, 4)))[0], layer.bias, rtol=1e-6)


def test_regularizers_and_constraints_are_missed():
    layer = kl.Dense(3, kernel_regularizer="l2", bias_constraint="non_neg", name="d")
    _, report = models.to_low_curvature(alone(layer, (4,)))
    assert report.changes[0].note.endswith(
        ", without its kernel_regularizer, without its bias_constraint"
    )
    recipe = models.curvature_recipe(alone(layer, (4,))).network
    assert recipe.get_layer("d").kernel_regularizer is not None


class Sneaky(kl.Dense):
    """A subclass may compute anything."""


@pytest.mark.parametrize(
    "layer",
    [
        lambda: Sneaky(3),
        lambda: kl.Conv2DTranspose(2, 3, strides=2, output_padding=1, padding="same"),
        lambda: kl.Conv1D(2, 3),
        lambda: kl.BatchNormalization(axis=1),
        lambda: kl.GroupNormalization(1),
    ],
)
def test_what_has_no_counterpart_is_kept(layer):
    """With its weights, and by name in the report where it has no bound."""
    shape = (6, 4) if isinstance(layer(), kl.Conv1D) else (6, 6, 4)
    network = alone(layer(), shape)
    low, report = models.to_low_curvature(network)
    x = some_images(2, shape)
    np.testing.assert_allclose(low(x), network(x), rtol=1e-6)
    assert type(low.layers[1]) is type(network.layers[1])
    assert low.layers[1] is not network.layers[1]
    if not isinstance(network.layers[1], kl.BatchNormalization):
        assert report.unbounded == (network.layers[1].name,)


def test_quantized_weights_are_kept():
    layer = kl.Dense(3, name="eighth")
    network = alone(layer, (4,))
    layer.quantize("int8")
    low, report = models.to_low_curvature(network)
    assert report.unbounded == ("eighth",)
    x = some_images(2, (4,))
    np.testing.assert_allclose(low(x), network(x), rtol=1e-5)


def test_adapted_normalization_keeps_its_statistics():
    layer = kl.Normalization()
    layer.adapt(some_images(20, seed=1))
    network = keras.Sequential([keras.Input(SHAPE), layer])
    low, report = models.to_low_curvature(network)
    x = some_images()
    np.testing.assert_allclose(low(x), network(x), rtol=1e-6)
    largest = 1.0 / np.sqrt(np.asarray(layer.variance).min())
    np.testing.assert_allclose(report.changes[0].lipschitz, largest, rtol=1e-5)


def test_a_layer_that_does_not_rebuild_is_named():
    class Odd(kl.Layer):
        def __init__(self, secret):
            super().__init__(name="odd")
            self.weight = self.add_weight(shape=(secret,), name="w")

        def call(self, x):
            return x * self.weight

    inputs = keras.Input((3,))
    network = keras.Model(inputs, Odd(3)(inputs))
    with pytest.raises(ValueError) as error:
        models.to_low_curvature(network)
    assert str(error.value).startswith(
        "`network` must have layers that their configuration rebuilds. "
        "Received: a Odd named 'odd', which says: "
    )
