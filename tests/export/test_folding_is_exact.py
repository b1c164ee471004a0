"""Folding in float64: the same numbers to the last digits, or rounding by rounding."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.folding import constants, fold
from tests.export.foldable import SHAPE, settled, some_images
from tests.seeds import set_seeds
from tfrobust import models
from tfrobust.layers import (
    CenteredSoftplus,
    LipschitzBatchNormalization,
    SpectralConv2D,
    SpectralDense,
)


def block_v1(x, index):
    """Convolution, norm, activation, twice, then the sum and an activation."""
    y = keras.layers.Conv2D(4, 3, padding="same", use_bias=bool(index % 2))(x)
    y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
    y = keras.layers.Conv2D(4, 3, padding="same")(y)
    y = keras.layers.BatchNormalization(scale=False)(y)
    return keras.layers.ReLU()(keras.layers.Add()([x, y]))


def block_v2(x, index):
    """Norm and activation in front of each convolution; the sum is left alone."""
    y = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    y = keras.layers.Conv2D(4, 3, padding="same", use_bias=bool(index % 2))(y)
    y = keras.layers.ReLU()(keras.layers.BatchNormalization(center=False)(y))
    return x + keras.layers.Conv2D(4, 3, padding="same")(y)


def residual(block, dtype, depth=6):
    """A residual network of standard layers, each as deep as two blocks a unit."""
    keras.config.set_dtype_policy(dtype)
    set_seeds(0)
    image = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, padding="same")(image)
    for index in range(depth):
        x = block(x, index)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return settled(keras.Model(image, keras.layers.Dense(5)(x)))


def count_of(kind, model):
    return sum(isinstance(layer, kind) for layer in model.layers)


@pytest.mark.parametrize(("block", "folds"), [(block_v1, 12), (block_v2, 6)])
def test_folding_is_exact(block, folds):
    """In float64 the folded network differs by float64 rounding, so that in float32
    nothing but float32 rounding is left; that is no more than the network's own.
    """
    exact, images = residual(block, "float64"), some_images()
    folded = fold(exact)
    assert count_of(keras.layers.Identity, folded) == folds
    truth = exact(images.astype(np.float64)).numpy()
    assert truth.dtype == np.float64
    answers = folded(images.astype(np.float64)).numpy()
    size = np.abs(truth).max()
    np.testing.assert_allclose(answers, truth, rtol=0, atol=1e-13 * size)
    rounded = residual(block, "float32")
    rounded.set_weights(exact.get_weights())
    before, after = (
        np.sqrt(np.mean(np.square(network(images) - truth)))
        for network in (rounded, fold(rounded))
    )
    assert 0 < after < 3 * before < 1e-5 * size


def in_float64(model, kernels):
    """A low-curvature network as float64 layers of Keras's own, on given kernels.

    Names that have no kernel there are batch norms that went into one.
    """
    keras.config.set_dtype_policy("float64")
    weights = {}

    def replace(layer):
        name, made = {"name": layer.name}, None
        if layer.name in kernels:
            weights[layer.name] = kernels[layer.name]
            config = layer.get_config()
            if isinstance(layer, SpectralDense):
                return keras.layers.Dense(config["units"], **name)
            keys = ("filters", "kernel_size", "strides", "padding")
            made = keras.layers.Conv2D(**{key: config[key] for key in keys}, **name)
        elif isinstance(layer, LipschitzBatchNormalization):
            made = keras.layers.Identity(**name)
        elif isinstance(layer, CenteredSoftplus):
            beta = np.exp(np.float64(layer.log_beta))
            made = keras.layers.Lambda(
                lambda x: tf.math.log(0.5 + 0.5 * tf.exp(beta * x)) / beta, **name
            )
        else:
            config = {**layer.get_config(), "dtype": "float64"}
            made = layer.__class__.from_config(config)
        return made

    clone = keras.models.clone_model(model, clone_function=replace)
    for layer in clone.layers:
        if layer.name in weights:
            layer.set_weights(list(weights[layer.name]))
    return clone


def by_hand(model):
    """Kernel over its norm for each spectral layer, without any batch norm, float64."""
    kernels = {}
    for layer in model.layers:
        if isinstance(layer, (SpectralConv2D, SpectralDense)):
            kernel = np.asarray(layer.kernel, np.float64)
            right = np.asarray(layer.right, np.float64)
            if isinstance(layer, SpectralDense):
                image = right @ kernel
            else:
                image = tf.nn.conv2d(right, kernel, layer.strides, "SAME").numpy()
            bias = np.zeros(kernel.shape[-1]) if layer.bias is None else layer.bias
            kernels[layer.name] = (kernel / np.linalg.norm(image), np.asarray(bias))
    return kernels


def norms_applied(model, kernels, images):
    """Logits of the network with its norms written out, float64."""
    network = in_float64(model, kernels)
    values = {}

    def value(tensor):
        layer = tensor._keras_history.operation
        if id(tensor) not in values:
            inputs = [value(x) for x in keras.tree.flatten(layer.input)]
            values[id(tensor)] = layer(inputs[0] if len(inputs) == 1 else inputs)
            norm = model.get_layer(layer.name)
            if isinstance(norm, LipschitzBatchNormalization):
                values[id(tensor)] = normalized(norm, inputs[0])
        return values[id(tensor)]

    values[id(network.input)] = tf.constant(images, tf.float64)
    return value(network.output).numpy()


def normalized(norm, x):
    variance = np.asarray(norm.moving_variance, np.float64)
    deviation = np.sqrt(variance + norm.epsilon)
    smallest, gamma = deviation.min(), np.exp(np.float64(norm.log_gamma))
    mean = np.asarray(norm.moving_mean, np.float64)
    return (x - mean) / deviation * smallest * min(1.0 / smallest, gamma)


@pytest.mark.slow
def test_folding_of_a_low_curvature_network_is_exact():
    """The constants before rounding, in a float64 network of Keras's own layers, give
    what the definition of each layer gives, written out in float64; and the float32
    network is as far from that with as without folding.
    """
    model, images = settled(models.ResNet18(SHAPE, 5, "lcnn", width=3)), some_images()
    norms = [x for x in model.layers if isinstance(x, LipschitzBatchNormalization)]
    for index, norm in enumerate(norms):
        # Enough gain for the images to tell in the logits; every other norm shrinks.
        norm.moving_variance.assign(0.03 * norm.moving_variance)
        norm.log_gamma.assign(1.0 + 2.0 * (index % 2))
    truth = norms_applied(model, by_hand(model), images)
    answers = in_float64(model, constants(model))(images.astype(np.float64)).numpy()
    assert truth.dtype == answers.dtype == np.float64
    size = np.abs(truth).max()
    assert np.std(truth, axis=0).max() > 0.01 * size
    np.testing.assert_allclose(answers, truth, rtol=0, atol=1e-12 * size)
    before, after = (
        np.sqrt(np.mean(np.square(network(images) - truth)))
        for network in (model, fold(model))
    )
    assert 0 < after < 3 * before < 1e-3 * size
