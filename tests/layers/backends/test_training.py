"""Every layer in `fit`: what learns moves, and so does what follows it."""

import keras
import numpy as np
import pytest

from tests.layers.backends.cases import (
    CASES,
    SPECTRAL,
    as_numpy,
    constant_of,
    images,
    model_of,
    settled,
    weights_of,
)
from tfrobust.layers import LipschitzBatchNormalization


def fit(model, steps=3):
    x = images(4, *model.input_shape[1:])
    target = 3 * images(4, *model.output_shape[1:], seed=9)
    model.compile(keras.optimizers.SGD(0.05), "mse")
    history = model.fit(x, target, epochs=steps, batch_size=4, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))


@pytest.mark.parametrize("name", CASES)
def test_fit_moves_every_weight(name):
    """Kernels, betas and gammas by their gradients, moving statistics and singular
    vectors by the batch and the kernel.
    """
    model = model_of(CASES[name])
    layer = model.layers[1]
    before = weights_of(layer)
    fit(model)
    for weight, value in weights_of(layer).items():
        assert np.all(np.isfinite(value)), weight
        assert np.any(value != before[weight]), weight


@pytest.mark.parametrize("name", SPECTRAL)
def test_power_iteration_follows_the_kernel(name):
    """A call in training turns the stored unit vectors towards a kernel that moved."""
    case = CASES[name]
    model = model_of(case)
    layer, x = model.layers[1], images(3, *case.shape)
    model.set_weights([as_numpy(weight.value) for weight in settled(name).weights])
    moved = as_numpy(layer.kernel.value) + 0.2 * images(*layer.kernel.shape, seed=7)
    layer.kernel.assign(moved)
    norms = []
    for _ in range(20):
        norms.append(float(as_numpy(layer.spectral_norm())))
        model(x, training=True)
    for vector in (layer.left, layer.right):
        np.testing.assert_allclose(np.linalg.norm(as_numpy(vector.value)), 1, rtol=1e-5)
    # From its first round on power iteration never goes down.
    assert np.all(np.diff(norms[1:]) > -1e-5 * norms[-1])
    assert norms[0] < norms[-1]
    np.testing.assert_allclose(constant_of(model), 1.0, rtol=0.01)


@pytest.mark.parametrize("name", CASES)
def test_inference_moves_nothing(name):
    model = settled(name)
    before = weights_of(model.layers[1])
    model(images(3, *CASES[name].shape), training=False)
    for weight, value in weights_of(model.layers[1]).items():
        np.testing.assert_array_equal(value, before[weight])


def test_batch_norm_of_a_batch():
    """Outputs by the batch's statistics, recorded at the rate of `1 - momentum`."""
    layer = LipschitzBatchNormalization(gamma=0.8, momentum=0.7, epsilon=1e-3)
    x = images(7, 5, 4, 3) * np.float32([1, 2, 3]) + 1
    layer.build(x.shape)
    layer.moving_mean.assign([0.3, -2.0, 1.5])
    layer.moving_variance.assign([0.5, 4.0, 0.09])
    y = as_numpy(layer(x, training=True))
    wide = np.float64(x)
    mean, variance = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    shrink = min(1.0, 0.8 * np.sqrt(0.09 + 1e-3))
    expected = (wide - mean) / np.sqrt(variance + 1e-3) * shrink
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    after = weights_of(layer)
    np.testing.assert_allclose(
        after["moving_mean"], 0.7 * np.array([0.3, -2.0, 1.5]) + 0.3 * mean, rtol=1e-5
    )
    np.testing.assert_allclose(
        after["moving_variance"],
        0.7 * np.array([0.5, 4.0, 0.09]) + 0.3 * variance,
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", CASES)
def test_half_precision(name):
    """Answers in the policy's dtype, weights in float32, within bfloat16's rounding."""
    case = CASES[name]
    exact = settled(name)
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = model_of(case)
    model.set_weights([as_numpy(weight.value) for weight in exact.weights])
    x = images(3, *case.shape)
    answers = model(x, training=False)
    assert keras.backend.standardize_dtype(answers.dtype) == "bfloat16"
    assert {weight.dtype for weight in model.layers[1].weights} == {"float32"}
    expected = as_numpy(exact(x, training=False))
    close = keras.ops.cast(answers, "float32")
    np.testing.assert_allclose(as_numpy(close), expected, atol=0.05)
