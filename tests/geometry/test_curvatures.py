"""Gradient and Hessian norms against closed forms and exact Hessians."""

import gc
import math
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.geometry.common import (
    SHAPE,
    draw,
    exact_derivatives,
    regression,
    regression_derivatives,
    smooth_network,
    spectral_norm,
)
from tfrobust import geometry, layers, models


@pytest.fixture(scope="module")
def network():
    return smooth_network()


@pytest.fixture(scope="module")
def exact(network):
    """Norms of the exact gradient and Hessian at five images."""
    images, labels = draw(5, *SHAPE), np.array([0, 1, 2, 0, 1])
    pairs = [
        exact_derivatives(network, image, label)
        for image, label in zip(images, labels, strict=True)
    ]
    gradients = np.array([np.linalg.norm(gradient) for gradient, _ in pairs])
    hessians = np.array([spectral_norm(hessian) for _, hessian in pairs])
    assert hessians.min() > 1e-4
    return images, labels, gradients, hessians


def softmax_regression(seed, scale=1.0):
    random = np.random.default_rng(seed)
    weights = scale * random.standard_normal((12, 4)).astype(np.float32)
    bias = random.standard_normal(4).astype(np.float32)
    return weights, bias


@pytest.mark.parametrize("seed", range(3))
def test_softmax_regression_has_its_closed_form(seed):
    """`W (p - y)` and `W (diag p - p p') W'` in float64."""
    weights, bias = softmax_regression(seed)
    images, labels = draw(6, 2, 3, 2, seed=seed), np.arange(6) % 4
    model = regression(weights, bias)
    result = geometry.curvature(model, images, labels, iterations=200)
    for row, label in enumerate(labels):
        g, hessian = regression_derivatives(weights, bias, images[row], label)
        size, norm = np.linalg.norm(g), spectral_norm(hessian)
        np.testing.assert_allclose(result.gradient_norm[row], size, rtol=1e-5)
        np.testing.assert_allclose(result.hessian_norm[row], norm, rtol=1e-4)
        np.testing.assert_allclose(result.curvature[row], norm / size, rtol=1e-4)


@pytest.mark.slow
def test_a_convolutional_network_has_its_exact_hessian(network, exact):
    """Against `tape.jacobian` of the gradient and NumPy's eigenvalues."""
    images, labels, gradients, hessians = exact
    np.testing.assert_allclose(
        geometry.gradient_norm(network, images, labels), gradients, rtol=1e-4
    )
    result = geometry.hessian_norm(network, images, labels, iterations=2000)
    np.testing.assert_allclose(result, hessians, rtol=1e-3)


def test_estimates_grow_towards_the_norm_from_below(network, exact):
    """A lower bound that never decreases, and is near after the default ten."""
    images, labels, _, hessians = exact
    result = np.array(
        [geometry.hessian_norm(network, images, labels, n) for n in (1, 2, 4, 10, 40)]
    )
    assert np.all(result[1:] >= result[:-1] * (1 - 1e-5))
    assert np.all(result <= hessians * (1 + 1e-4))
    assert np.all(result[3] > 0.8 * hessians)
    assert np.any(result[0] < 0.99 * result[-1])


def test_the_gradient_is_that_of_finite_differences():
    """Logistic regression on one pixel: `softplus(-2x)` has slope `-2 sigmoid(-2x)`."""
    model = lambda x: tf.concat([x, -x], axis=-1)  # noqa: E731
    points = np.linspace(-3, 3, 7, dtype=np.float32)[:, None]
    labels = np.zeros(7, np.int32)
    result = geometry.curvature(model, points, labels)
    loss = lambda x: np.log1p(np.exp(-2 * x))  # noqa: E731
    x, step = points[:, 0].astype(np.float64), 1e-4
    slope = (loss(x + step) - loss(x - step)) / (2 * step)
    bend = (loss(x + step) - 2 * loss(x) + loss(x - step)) / step**2
    np.testing.assert_allclose(result.gradient_norm, np.abs(slope), rtol=1e-5)
    np.testing.assert_allclose(result.hessian_norm, bend, rtol=1e-4)


@pytest.mark.parametrize("margin", [5.0, 20.0, 50.0, 75.0])
def test_confident_answers_keep_their_curvature(margin):
    """g and H go to 0 together, and C to 2: `1 - p` is no longer 0 in float32."""
    model = lambda x: tf.concat([x, -x], axis=-1)  # noqa: E731
    result = geometry.curvature(model, [[margin / 2]], [0])
    small = 1 / (1 + math.exp(margin))
    np.testing.assert_allclose(result.gradient_norm, [2 * small], rtol=1e-4)
    hessian = 4 * small * (1 - small)
    np.testing.assert_allclose(result.hessian_norm, [hessian], rtol=1e-4)
    np.testing.assert_allclose(result.curvature, [2 * (1 - small)], rtol=1e-4)


def test_a_loss_that_is_linear_has_no_curvature():
    """Wrong by a margin of 400 the cross-entropy is a straight line: 0, and no NaN."""
    model = lambda x: tf.concat([x, -x], axis=-1)  # noqa: E731
    result = geometry.curvature(model, [[-200.0]], [0])
    assert [float(value[0]) for value in result] == [2.0, 0.0, 0.0]


@pytest.mark.parametrize("tolerance", [None, 1e-3])
def test_a_constant_model_is_flat(tolerance):
    """Zero gradient and zero Hessian give 0, not NaN."""
    model = lambda x: 0.0 * tf.concat([x, -x], axis=-1)  # noqa: E731
    result = geometry.curvature(model, [[0.3], [0.5]], [0, 1], tolerance=tolerance)
    np.testing.assert_array_equal(np.array(result), 0.0)


def test_nan_is_not_hidden():
    """A model that answers NaN has no norm of 0."""
    model = lambda x: tf.concat([x, -x], axis=-1) * np.nan  # noqa: E731
    for tolerance in (None, 1e-3):
        result = geometry.curvature(model, [[0.3]], [0], tolerance=tolerance)
        assert np.all(np.isnan(np.array(result)))


def test_an_answer_does_not_depend_on_its_neighbors(network, exact):
    """The same row alone, last, and beside others."""
    images, labels, *_ = exact
    for tolerance in (None, 0.05):
        settings = {"iterations": 7, "tolerance": tolerance}
        whole = geometry.curvature(network, images, labels, **settings)
        turned = geometry.curvature(network, images[::-1], labels[::-1], **settings)
        alone = geometry.curvature(network, images[3:4], labels[3:4], **settings)
        for a, b, c in zip(whole, turned, alone, strict=True):
            np.testing.assert_allclose(a, b[::-1], rtol=1e-5)
            np.testing.assert_allclose(a[3], c[0], rtol=1e-5)


def test_tolerance_stops_where_it_says(network, exact):
    """Row by row: the first estimate whose relative change is within the tolerance."""
    images, labels, *_ = exact
    steps = np.array(
        [geometry.hessian_norm(network, images, labels, n) for n in range(1, 31)]
    )
    change = np.abs(np.diff(steps, axis=0)) / steps[1:]
    first = np.argmax(change <= 0.02, axis=0) + 1
    assert len(set(first)) > 1  # the rows do stop at different times
    expected = steps[first, np.arange(len(images))]
    result = geometry.hessian_norm(network, images, labels, 30, tolerance=0.02)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_seeds_change_the_start_and_not_the_end(network, exact):
    """One iteration depends on the start; many do not."""
    images, labels, _, hessians = exact
    short = [geometry.hessian_norm(network, images, labels, 1, seed=s) for s in (0, 1)]
    assert np.all(np.abs(short[0] - short[1]) > 1e-4 * short[0])
    again = geometry.hessian_norm(network, images, labels, 1, seed=0)
    np.testing.assert_array_equal(short[0], again)
    long = geometry.hessian_norm(network, images, labels, 2000, seed=1)
    np.testing.assert_allclose(long, hessians, rtol=1e-3)


def test_epsilon_is_added_to_the_gradient_norm(network, exact):
    images, labels, *_ = exact
    result = geometry.curvature(network, images, labels, epsilon=10.0)
    expected = result.hessian_norm / (result.gradient_norm + 10.0)
    np.testing.assert_allclose(result.curvature, expected, rtol=1e-6)


def test_works_in_a_graph_of_unknown_batch_size(network, exact):
    """Inside `tf.function` the answer is the eager one."""
    images, labels, *_ = exact

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *SHAPE]),
            tf.TensorSpec([None], tf.int64),
        ]
    )
    def run(images, labels):
        return geometry.curvature(network, images, labels, 5, tolerance=1e-3)

    expected = geometry.curvature(network, images, labels, 5, tolerance=1e-3)
    for size in (5, 2):
        for a, b in zip(run(images[:size], labels[:size]), expected, strict=True):
            np.testing.assert_allclose(a, b[:size], rtol=1e-5)


@pytest.mark.slow
def test_a_loaded_saved_model_has_the_same_geometry(tmp_path):
    """Second derivatives flow through a served function that returns a dictionary."""
    network = models.MLP((3, 2, 1), 3, "lcnn", hidden=(5, 4))
    module = tf.Module()
    module.network = network
    module.serve = tf.function(
        lambda images: {"logits": network(images, training=False)},
        input_signature=[tf.TensorSpec([None, 3, 2, 1])],
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    images, labels = draw(4, 3, 2, 1), np.array([0, 1, 2, 0])
    expected = geometry.curvature(network, images, labels)
    assert np.all(expected.hessian_norm > 0)
    for model in (loaded.serve, loaded, loaded.signatures["serving_default"]):
        result = geometry.curvature(model, images, labels)
        for a, b in zip(result, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4)


def test_statistics_of_batch_norm_stay():
    """A model is measured at inference, whatever its layers could learn."""
    network = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.SpectralConv2D(2, 3),
            layers.LipschitzBatchNormalization(),
            layers.CenteredSoftplus(),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            layers.SpectralDense(2),
        ]
    )
    before = [variable.numpy() for variable in network.variables]
    geometry.curvature(network, draw(2, *SHAPE), [0, 1], iterations=2)
    for old, variable in zip(before, network.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy(), variable.path)


def test_new_weights_are_seen(network, exact):
    """A compiled measure reads the weights of the moment."""
    images, labels, *_ = exact
    before = geometry.gradient_norm(network, images, labels)
    kernel = network.layers[-1].kernel
    old = kernel.numpy()
    kernel.assign(2 * old)
    after = geometry.gradient_norm(network, images, labels)
    kernel.assign(old)
    assert np.all(np.abs(after - before) > 1e-3 * before)


def test_models_are_not_kept_alive():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    geometry.gradient_norm(model, draw(1, 2), [0])
    reference = weakref.ref(model)
    keras.backend.clear_session()
    del model
    gc.collect()
    assert reference() is None


def test_no_images_have_no_norms(network):
    result = geometry.curvature(network, draw(0, *SHAPE), np.zeros(0, np.int32))
    assert [value.shape for value in result] == [(0,)] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"images": np.zeros((2, 3), np.uint8)},
            "`images` must be floating, with pixels in [0, 1]. Received: dtype=uint8",
        ),
        (
            {"images": np.zeros(2, np.float32)},
            "`images` must have shape [B, ...] of rank 2 or more. Received: shape=(2,)",
        ),
        (
            {"images": np.full((2, 3), np.inf)},
            "`images` must be finite. Received: NaN or infinity",
        ),
        (
            {"images": np.full((2, 1, 1, 3), 1.5)},
            "`images` must lie in [0, 1], or `bounds` must say where. "
            "Received: values from 1.5 to 1.5",
        ),
        (
            {"labels": [[0], [1], [0]]},
            "`labels` must have shape [B], one class for each of the 2 images. "
            "Received: shape=(3,)",
        ),
        (
            {"labels": [0.5, 1.0]},
            "`labels` must be integers. Received: dtype=float32 with fractions",
        ),
        (
            {"labels": [0, 3]},
            "`labels` must lie in [0, 3). Received: values from 0 to 3",
        ),
        (
            {"iterations": 0},
            "`iterations` must be an integer of at least 1. Received: iterations=0",
        ),
        (
            {"tolerance": 0.0},
            "`tolerance` must be a finite number above 0. Received: tolerance=0.0",
        ),
        (
            {"seed": -1},
            "`seed` must be an integer in [0, 2**31). Received: seed=-1",
        ),
        (
            {"epsilon": 0},
            "`epsilon` must be a finite number above 0. Received: epsilon=0",
        ),
        (
            {"model": lambda x: x[:, :1]},
            "`model` with one output must end in a sigmoid or a layer without an "
            "activation, whose output is the logit of class 1. Received: StridedSlice",
        ),
        (
            {"model": lambda x: tf.round(x) + tf.stop_gradient(x)},
            "`model` must be differentiable in its images. Received: the operation "
            "StopGradient at 'StopGradient', through which no gradient comes",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    call = {"model": lambda x: x, "images": draw(2, 3), "labels": [0, 1]}
    with pytest.raises(ValueError) as error:
        geometry.curvature(**{**call, **arguments})
    assert str(error.value) == message
