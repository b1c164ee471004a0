"""Constants of single layers against their Jacobians and sampled derivatives."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from tests.geometry.common import draw
from tfrobust.core.constants import (
    Constants,
    compose,
    layer_constants,
    merge_constants,
)
from tfrobust.layers import (
    CenteredSoftplus,
    ChannelAffine,
    LipschitzBatchNormalization,
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralDense,
    SpectralDepthwiseConv2D,
)

SHAPE = (5, 6, 2)

LINEAR = {
    "conv same": lambda: kl.Conv2D(3, 3, padding="same"),
    "conv strided": lambda: kl.Conv2D(3, (3, 2), strides=2, padding="same"),
    "conv valid": lambda: kl.Conv2D(2, 3, strides=(1, 2)),
    "conv 1x1": lambda: kl.Conv2D(4, 1, strides=2, padding="same"),
    "conv dilated": lambda: kl.Conv2D(3, (3, 2), dilation_rate=(1, 2), padding="same"),
    "depthwise": lambda: kl.DepthwiseConv2D(3, 2, "same", depth_multiplier=2),
    "transposed": lambda: kl.Conv2DTranspose(3, 3, strides=2, padding="same"),
    "spectral grouped": lambda: SpectralConv2D(4, 3, groups=2, strides=2),
    "spectral depthwise": lambda: SpectralDepthwiseConv2D(3, dilation_rate=2),
    "spectral transposed": lambda: SpectralConv2DTranspose(3, 3, strides=(1, 2)),
    "affine": ChannelAffine,
    "affine without bound": lambda: ChannelAffine(None),
    "normalization": lambda: kl.Normalization(mean=[0.1, 0.2], variance=[0.25, 4.0]),
    "upsampling": lambda: kl.UpSampling2D((2, 3)),
    "noise": lambda: kl.GaussianNoise(0.1),
    "spectral conv": lambda: SpectralConv2D(4, 3, strides=2),
    "dense": lambda: kl.Dense(4),
    "spectral dense": lambda: SpectralDense(3),
    "batch norm": kl.BatchNormalization,
    "batch norm without scale": lambda: kl.BatchNormalization(scale=False),
    "lipschitz batch norm": lambda: LipschitzBatchNormalization(0.7),
    "lipschitz batch norm, slack": LipschitzBatchNormalization,
    "average pooling": lambda: kl.AveragePooling2D(2),
    "overlapping average": lambda: kl.AveragePooling2D((3, 2), strides=(2, 1)),
    "padded average": lambda: kl.AveragePooling2D(3, strides=2, padding="same"),
    "global average": kl.GlobalAveragePooling2D,
    "rescaling": lambda: kl.Rescaling([2.0, -3.0], offset=1.0),
    "zero padding": lambda: kl.ZeroPadding2D(1),
    "cropping": lambda: kl.Cropping2D(1),
    "flatten": kl.Flatten,
    "reshape": lambda: kl.Reshape((10, 6)),
    "permute": lambda: kl.Permute((2, 1, 3)),
    "dropout": lambda: kl.Dropout(0.5),
    "identity": kl.Identity,
    "linear activation": lambda: kl.Activation("linear"),
}


def scatter(layer):
    """Weights that no layer starts with, positive for variances."""
    random = np.random.default_rng(3)
    for weight in layer.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.3, 2.0, weight.shape))
        if weight.name in ("kernel", "moving_mean", "scale", "shift"):
            weight.assign(random.standard_normal(weight.shape))


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_layers_have_the_norm_of_their_matrix(kind):
    """The matrix column by column, from the layer's answers alone."""
    layer = LINEAR[kind]()
    network = keras.Sequential([keras.Input(SHAPE), layer])
    scatter(layer)
    count = math.prod(SHAPE)
    basis = np.eye(count, dtype=np.float32).reshape(count, *SHAPE)
    answers = [np.asarray(network(x, training=False)) for x in (basis, 0 * basis)]
    matrix = (answers[0] - answers[1]).reshape(count, -1).astype(np.float64)
    constants = layer_constants(layer, (None, *SHAPE))
    np.testing.assert_allclose(
        constants.lipschitz, np.linalg.norm(matrix, 2), rtol=1e-4
    )
    assert constants.hessian == 0.0


def test_large_convolutions_agree_with_their_matrix():
    """Krylov iteration, beyond the size that is written out, against scipy."""
    from scipy.sparse.linalg import LinearOperator, svds

    from tfrobust.layers import linear_maps

    layer = kl.Conv2D(3, 3, strides=2, padding="same", use_bias=False)
    layer.build((None, 20, 20, 3))
    kernel = tf.constant(draw(3, 3, 3, 3) - 0.4)
    layer.kernel.assign(kernel)

    def apply(x):
        x = np.reshape(x, (1, 20, 20, 3)).astype(np.float32)
        return np.asarray(layer(x), np.float64).ravel()

    def adjoint(y):
        y = tf.constant(np.reshape(y, (1, 10, 10, 3)), tf.float32)
        x = linear_maps.convolution_adjoint(y, kernel, (20, 20), (2, 2), "same")
        return np.asarray(x, np.float64).ravel()

    operator = LinearOperator((300, 1200), apply, adjoint, dtype=np.float64)
    expected = svds(operator, k=1, return_singular_vectors=False, random_state=0)[0]
    norm = layer_constants(layer, (None, 20, 20, 3)).lipschitz
    np.testing.assert_allclose(norm, expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["linear", "softplus", "tanh", "sigmoid", "beta"])
def test_activations_have_the_largest_derivatives_of_a_fine_grid(name):
    """First and second derivative on [-6, 6] by automatic differentiation."""
    layer = CenteredSoftplus(3.5) if name == "beta" else kl.Activation(name)
    layer.build((None, 4))
    x = tf.linspace(-6.0, 6.0, 20001)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = layer(x)
        slope = inner.gradient(y, x)
    bend = outer.gradient(slope, x)
    constants = layer_constants(layer, (None, 4))
    np.testing.assert_allclose(constants.lipschitz, tf.reduce_max(slope), rtol=3e-3)
    expected = 0.0 if bend is None else tf.reduce_max(tf.abs(bend))
    np.testing.assert_allclose(constants.hessian, expected, rtol=1e-4, atol=1e-7)


def test_activations_that_jump_have_no_hessian_bound():
    assert layer_constants(kl.ReLU(), (None, 4)) == Constants(1.0, math.inf)
    leaky = kl.ReLU(negative_slope=2.0)
    assert layer_constants(leaky, (None, 4)) == Constants(2.0, math.inf)
    pool = layer_constants(kl.MaxPooling2D(2), (None, 4, 4, 1))
    assert pool == Constants(1.0, math.inf)
    leaky = kl.LeakyReLU(negative_slope=0.3)
    assert layer_constants(leaky, (None, 4)) == Constants(1.0, math.inf)
    pool = layer_constants(kl.GlobalMaxPooling2D(), (None, 4, 4, 1))
    assert pool == Constants(1.0, math.inf)


def test_a_grouped_convolution_has_the_largest_norm_of_its_groups():
    layer = kl.Conv2D(4, 3, groups=2, padding="same", use_bias=False)
    layer.build((None, 5, 6, 4))
    layer.kernel.assign(np.random.default_rng(0).standard_normal((3, 3, 2, 4)))
    whole = layer_constants(layer, (None, 5, 6, 4)).lipschitz
    parts = []
    for part in (slice(0, 2), slice(2, 4)):
        alone = kl.Conv2D(2, 3, padding="same", use_bias=False)
        alone.build((None, 5, 6, 2))
        alone.kernel.assign(layer.kernel.numpy()[..., part])
        parts.append(layer_constants(alone, (None, 5, 6, 2)).lipschitz)
    np.testing.assert_allclose(whole, max(parts), rtol=1e-5)


def test_a_separable_convolution_is_bounded_by_its_two_maps():
    """Never below the norm of its matrix, and equal where the second is orthogonal."""
    layer = kl.SeparableConv2D(2, 3, padding="same", use_bias=False)
    network = keras.Sequential([keras.Input(SHAPE), layer])
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]], "float32")
    layer.set_weights([draw(3, 3, 2, 1), turn.reshape(1, 1, 2, 2)])
    basis = np.eye(60, dtype=np.float32).reshape(60, *SHAPE)
    matrix = np.asarray(network(basis), np.float64).reshape(60, -1)
    bound = layer_constants(layer, (None, *SHAPE)).lipschitz
    np.testing.assert_allclose(bound, np.linalg.norm(matrix, 2), rtol=1e-5)


def test_overlapping_max_pooling_attains_its_constant():
    """One pixel that wins four windows moves all four."""
    layer = kl.MaxPooling2D(2, strides=1)
    x = np.zeros((1, 3, 3, 1), np.float32)
    x[0, 1, 1, 0] = 1.0
    change = np.linalg.norm(np.asarray(layer(2 * x)) - np.asarray(layer(x)))
    assert layer_constants(layer, (None, 3, 3, 1)).lipschitz == change == 2.0


def test_an_activation_inside_a_layer_counts():
    """`tanh(2 x)`: slope 2, second derivative 4 times that of tanh."""
    layer = kl.Dense(1, activation="tanh")
    layer.build((None, 1))
    layer.kernel.assign([[2.0]])
    constants = layer_constants(layer, (None, 1))
    np.testing.assert_allclose(constants, (2.0, 16 / math.sqrt(27)), rtol=1e-6)


def test_composition_is_the_chain_rule():
    """`exp(sin)` style: two scalar maps whose derivatives at 0 are the constants."""
    outer, inner = Constants(2.0, 3.0), Constants(5.0, 7.0)
    # g(y) = 2 y + 3 y^2 / 2, f(x) = 5 x + 7 x^2 / 2: (g o f)''(0) = 3 * 25 + 2 * 7.
    assert compose(outer, inner) == Constants(10.0, 89.0)
    assert compose(Constants(1.0, math.inf), Constants(0.0)).hessian == 0.0


def test_merging_layers():
    inputs = [Constants(3.0, 5.0), Constants(4.0, 12.0)]
    assert merge_constants(kl.Add(), inputs) == Constants(7.0, 17.0)
    assert merge_constants(kl.Subtract(), inputs) == Constants(7.0, 17.0)
    assert merge_constants(kl.Average(), inputs) == Constants(3.5, 8.5)
    assert merge_constants(kl.Concatenate(), inputs) == Constants(5.0, 13.0)
    assert merge_constants(kl.Flatten(), inputs) is None


class Sneaky(kl.Dense):
    """A subclass may compute anything."""


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            lambda: kl.LayerNormalization(name="norm"),
            "`network` must be made of layers whose constants are known. "
            "Received: a LayerNormalization named 'norm'",
        ),
        (
            lambda: Sneaky(2, name="sneaky"),
            "`network` must be made of layers whose constants are known. "
            "Received: a Sneaky named 'sneaky'",
        ),
        (
            lambda: kl.Activation("gelu", name="bend"),
            "`network` must have activations among linear, relu, softplus, tanh, "
            "sigmoid. Received: gelu in the layer named 'bend'",
        ),
        (
            lambda: kl.Conv2DTranspose(
                2, 3, strides=2, output_padding=1, padding="same", name="wide"
            ),
            "`network` must have transposed convolutions without output padding or "
            "dilation. Received: output_padding=(1, 1), dilation_rate=(1, 1) in the "
            "layer named 'wide'",
        ),
        (
            lambda: kl.UpSampling2D(interpolation="bilinear", name="up"),
            "`network` must have upsampling by repetition. "
            "Received: interpolation='bilinear' in the layer named 'up'",
        ),
    ],
)
def test_unknown_layers_are_named(layer, message):
    layer = layer()
    layer.build((None, *SHAPE))
    with pytest.raises(ValueError) as error:
        layer_constants(layer, (None, *SHAPE))
    assert str(error.value) == message


def test_unknown_sizes_are_named():
    with pytest.raises(ValueError, match=r"Received: \(None, 6\)"):
        layer_constants(kl.GlobalAveragePooling2D(), (None, None, 6, 2))


def test_a_namesake_of_a_known_activation_is_refused():
    def tanh(x):
        return 5.0 * keras.ops.tanh(x)

    with pytest.raises(ValueError, match="Received: tanh"):
        layer_constants(kl.Activation(tanh), (None, 2))


def test_quantized_kernels_are_refused():
    layer = kl.Dense(3, name="eighth")
    layer.build((None, 4))
    layer.quantize("int8")
    with pytest.raises(ValueError) as error:
        layer_constants(layer, (None, 4))
    assert str(error.value) == (
        "`network` must have kernels of floating-point numbers. "
        "Received: int8 in the layer named 'eighth'"
    )
