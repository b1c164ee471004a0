"""Answers, norms and gradients of every layer against float64 NumPy."""

import keras
import numpy as np
import pytest

from tests.layers.backends.cases import (
    CASES,
    SPECTRAL,
    as_numpy,
    constant_of,
    images,
    settled,
    weights_of,
)
from tests.layers.backends.derivatives import gradient
from tfrobust.layers import batch_norm, centered_softplus


@pytest.mark.parametrize("name", CASES)
def test_answers(name):
    """At inference, by the layer's own weights."""
    case = CASES[name]
    model = settled(name)
    x = images(3, *case.shape)
    expected = case.forward(case.arguments, np.float64(x), weights_of(model.layers[1]))
    assert model.output_shape == (None, *expected.shape[1:])
    answers = as_numpy(model(x, training=False))
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SPECTRAL)
def test_norm_of_what_the_layer_does(name):
    """Its matrix, read from its own answers, has a largest singular value of one."""
    np.testing.assert_allclose(constant_of(settled(name)), 1.0, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    """In inputs and weights, sigma's share included, by central differences."""
    case = CASES[name]
    model = settled(name)
    layer, x = model.layers[1], images(3, *case.shape)
    trained = [as_numpy(weight.value) for weight in layer.trainable_variables]
    fixed = [weight.value for weight in layer.non_trainable_variables]
    direction = images(*as_numpy(model(x)).shape, seed=9)
    cotangent = keras.ops.convert_to_tensor(direction)

    def loss(x, *weights):
        y, _ = model.stateless_call(list(weights), fixed, x, training=False)
        return keras.ops.sum(y * cotangent)

    ours = gradient(loss)(x, *trained)
    names = [weight.name for weight in layer.trainable_variables]
    point = weights_of(layer) | {"x": np.float64(x)}

    def exact(moved):
        answers = case.forward(case.arguments, moved["x"], moved)
        return np.sum(answers * direction)

    for weight, own in zip(["x", *names], ours, strict=True):
        truth = differences(exact, point, weight)
        # The singular vectors, good to the root of sigma's error, set the tolerance.
        tolerance = 1e-3 * np.abs(truth).max() + 1e-5
        np.testing.assert_allclose(as_numpy(own), truth, atol=tolerance, err_msg=weight)


def differences(function, point, name):
    """The gradient of a function of a dict of arrays in one of them."""
    truth, step = np.zeros(point[name].shape), 1e-5
    for index in np.ndindex(truth.shape):
        ends = []
        for sign in (1, -1):
            moved = np.array(point[name])
            moved[index] += sign * step
            ends.append(function(point | {name: moved}))
        truth[index] = (ends[0] - ends[1]) / (2 * step)
    return truth


@pytest.mark.parametrize("shape", [(6, 3), (3, 4, 5, 2)])
def test_gradient_of_batch_norm_in_training(shape):
    """First and second derivatives, as automatic differentiation has them."""
    x, shrink = images(*shape), np.float32(0.7)
    weights = keras.ops.arange(1, shape[-1] + 1, dtype="float32")

    def formula(x, shrink):
        axes = list(range(len(shape) - 1))
        mean = keras.ops.mean(x, axis=axes)
        variance = keras.ops.mean((x - mean) ** 2, axis=axes)
        return (x - mean) * shrink / keras.ops.sqrt(variance + 1e-5)

    def ours(x, shrink):
        return batch_norm._normalize(x, shrink, 1e-5)[0]

    def derivatives(normalize):
        def loss(x, shrink):
            return keras.ops.sum(keras.ops.sin(normalize(x, shrink)) * weights)

        def mixed(x, shrink):
            of_x, of_shrink = gradient(loss)(x, shrink)
            return keras.ops.sum(of_x**3) + of_shrink**2

        return gradient(loss)(x, shrink) + gradient(mixed)(x, shrink)

    for own, reference in zip(derivatives(ours), derivatives(formula), strict=True):
        # Float32 sums of terms of both signs.
        scale = np.abs(as_numpy(reference)).max()
        np.testing.assert_allclose(
            as_numpy(own), as_numpy(reference), atol=1e-4 * scale
        )


def test_written_out_gradient_of_batch_norm():
    """The one that TensorFlow is given, in the operations of every backend."""
    x, shrink, upstream = (
        keras.ops.convert_to_tensor(array)
        for array in (images(4, 5, 3), np.float32(0.7), images(4, 5, 3, seed=1))
    )

    def loss(x, shrink):
        return keras.ops.sum(batch_norm._formula(x, shrink, 1e-5)[0] * upstream)

    written = batch_norm._normalize_gradient(x, shrink, upstream, 1e-5)
    for own, reference in zip(written, gradient(loss)(x, shrink), strict=True):
        np.testing.assert_allclose(
            as_numpy(own), as_numpy(reference), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("beta", [1e-4, 0.1, 5.0, 1e4])
def test_centered_softplus_and_its_curvature(beta):
    """Value, slope and curvature from tiny to huge inputs, zero among them."""
    small = np.geomspace(1e-8, 100.0, 41)
    x = np.concatenate([-small, [0.0], small]).astype("float32")

    def total(x):
        return keras.ops.sum(centered_softplus(x, beta))

    def slopes(x):
        return keras.ops.sum(gradient(total)(x)[0])

    wide, half = np.float64(x), np.abs(beta * np.float64(x)) / 2
    value = wide / 2 + (half + np.log1p(np.exp(-2 * half)) - np.log(2)) / beta
    small = half < 1e-3  # The closed form cancels there; the series is x^2 beta / 8.
    value = np.where(small, wide / 2 + beta * wide**2 / 8, value)
    slope = np.where(wide < 0, np.exp(-2 * half), 1.0) / (1 + np.exp(-2 * half))
    curvature = beta * np.exp(-2 * half) / (1 + np.exp(-2 * half)) ** 2
    np.testing.assert_allclose(
        as_numpy(centered_softplus(x, beta)), value, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        as_numpy(gradient(total)(x)[0]), slope, rtol=1e-5, atol=2e-7
    )
    np.testing.assert_allclose(
        as_numpy(gradient(slopes)(x)[0]), curvature, rtol=1e-5, atol=2e-7 * beta
    )
