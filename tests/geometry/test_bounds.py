"""The data-free bound: never exceeded, sometimes attained, and read from any graph."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as kl

from tests.geometry.common import draw, exact_derivatives, spectral_norm
from tfrobust import geometry, models
from tfrobust.layers import CenteredSoftplus, SpectralDense
from tfrobust.training import RobustModel

SHAPE = (4, 3, 2)


def scatter(network, seed):
    """Weights and statistics that a trained network might have."""
    random = np.random.default_rng(seed)
    for variable in network.variables:
        if variable.name == "moving_variance":
            variable.assign(random.uniform(0.05, 2.0, variable.shape))
        if variable.name in ("kernel", "moving_mean", "bias"):
            scale = random.uniform(0.3, 1.5)
            variable.assign(scale * random.standard_normal(variable.shape))
        if variable.name in ("log_beta", "log_gamma"):
            variable.assign(random.uniform(-1.0, 3.0))


def jacobian_norm(network, image):
    x = tf.constant(image[None])
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = network(x)[0]
    jacobian = tape.jacobian(logits, x).numpy().reshape(len(logits), -1)
    return np.linalg.norm(jacobian, 2)


def check(network, images, bound, slack=1e-3):
    """At every image all four numbers, measured exactly, are within the bound."""
    for image in images:
        assert jacobian_norm(network, image) <= bound.lipschitz * (1 + slack)
        for label in range(2):
            gradient, hessian = exact_derivatives(network, image, label)
            size, norm = np.linalg.norm(gradient), spectral_norm(hessian)
            assert size <= bound.loss_gradient * (1 + slack)
            assert norm <= bound.loss_hessian * (1 + slack)


@pytest.mark.slow
@settings(max_examples=8)
@given(
    variant=st.sampled_from(["standard", "lcnn"]),
    seed=st.integers(0, 1000),
    hidden=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    width=st.sampled_from([0.3, 3.0, 30.0]),
)
def test_no_mlp_exceeds_its_bound(variant, seed, hidden, width):
    """Random weights, random points near and far, exact Hessians."""
    network = models.MLP((4,), 3, variant, hidden=hidden)
    scatter(network, seed)
    images = width * (draw(3, 4, seed=seed) - 0.5)
    check(network, images, geometry.curvature_bound(network))


@pytest.mark.slow
@settings(max_examples=4)
@given(variant=st.sampled_from(["standard", "lcnn"]), seed=st.integers(0, 1000))
def test_no_residual_network_exceeds_its_bound(variant, seed):
    """Convolutions, norms, shortcuts, pooling: the skeleton of ResNet, cut short."""
    parts = models.parts.Parts(variant=variant, beta=4.0)
    inputs = keras.Input(SHAPE)
    x = parts.convolution_block(inputs, 2, "stem")
    branch = parts.convolution_block(x, 3, "a", strides=2)
    shortcut = parts.norm(parts.convolution(x, 3, 1, 2, "b"), "b_norm")
    x = parts.activation(kl.Average()([branch, shortcut]), "out")
    x = kl.Concatenate()([x, branch])
    outputs = parts.dense(kl.GlobalAveragePooling2D()(x), 2, "logits")
    network = keras.Model(inputs, outputs)
    scatter(network, seed)
    for activation in network.layers:
        if isinstance(activation, CenteredSoftplus):
            activation.log_beta.assign(math.log(6.0))  # float32 resolves its bends
    check(network, draw(2, *SHAPE, seed=seed), geometry.curvature_bound(network))


@pytest.mark.slow
def test_the_power_iteration_stays_below_the_bound_too():
    """The measure of this package, on a ResNet."""
    network = models.ResNet18((8, 8, 2), 3, "lcnn", width=1)
    bound = geometry.curvature_bound(network)
    result = geometry.curvature(network, draw(3, 8, 8, 2), [0, 1, 2], iterations=5)
    assert 0 < np.max(result.gradient_norm) <= bound.loss_gradient
    assert 0 < np.max(result.hessian_norm) <= bound.loss_hessian < math.inf


def test_linear_classifiers_attain_the_loss_bounds():
    """Two classes along one direction: `L^2 / 2` at an even chance, `sqrt(2) L` far."""
    network = keras.Sequential([keras.Input((3,)), kl.Dense(2)])
    row = np.array([1.0, 2.0, -2.0], np.float32)
    network.layers[0].kernel.assign(np.stack([row, -row], axis=1))
    bound = geometry.curvature_bound(network)
    np.testing.assert_allclose(bound.lipschitz, 3 * math.sqrt(2), rtol=1e-5)
    assert bound.hessian == bound.normalized == 0.0
    result = geometry.curvature(network, np.array([0 * row, -9 * row]), [0, 0])
    np.testing.assert_allclose(result.hessian_norm[0], bound.loss_hessian, rtol=1e-4)
    np.testing.assert_allclose(result.gradient_norm[1], bound.loss_gradient, rtol=1e-4)


def test_one_hidden_unit_attains_the_hessian_bound():
    """`a s0(w x; beta)` has the second derivative `a w^2 beta / 4` at 0."""
    network = keras.Sequential(
        [keras.Input((1,)), kl.Dense(1), CenteredSoftplus(6.0), kl.Dense(2)]
    )
    network.layers[0].kernel.assign([[2.0]])
    network.layers[2].kernel.assign([[3.0, 4.0]])
    bound = geometry.curvature_bound(network)
    x = tf.zeros([1, 1])
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(x)
        with tf.GradientTape(persistent=True) as inner:
            inner.watch(x)
            logits = [network(x)[0, k] for k in range(2)]
        slopes = [inner.gradient(logit, x) for logit in logits]
    bends = [float(outer.gradient(slope, x)[0, 0]) for slope in slopes]
    np.testing.assert_allclose(math.hypot(*bends), bound.hessian, rtol=1e-5)
    np.testing.assert_allclose(bound.hessian, 5 * 4 * 6 / 4, rtol=1e-5)
    np.testing.assert_allclose(bound.lipschitz, 10.0, rtol=1e-5)


def test_the_loss_hessian_is_reached_within_a_small_factor():
    """A steep softplus between two classes, at its sharpest point."""
    network = keras.Sequential(
        [keras.Input((1,)), kl.Dense(1), CenteredSoftplus(50.0), kl.Dense(2)]
    )
    network.layers[0].kernel.assign([[1.0]])
    network.layers[2].kernel.assign([[1.0, -1.0]])
    network.layers[2].bias.assign([-5.0, 5.0])  # the loss is steep: label 0 is wrong
    norm = float(geometry.hessian_norm(network, [[0.0]], [0])[0])
    bound = geometry.curvature_bound(network).loss_hessian
    assert 0.9 * bound < norm <= bound


def test_normalized_is_the_sum_of_theorem_1():
    """`sum_i C_i prod_(j<i) L_j` for a feed-forward network, C_i = beta_i / 4."""
    betas, kernels = [2.0, 5.0, 3.0], [0.5, 3.0, 2.0]
    layers = [keras.Input((1,))]
    for beta in betas:
        layers += [kl.Dense(1), CenteredSoftplus(beta)]
    network = keras.Sequential([*layers, kl.Dense(2)])
    for layer, kernel in zip(network.layers[::2], kernels, strict=False):
        layer.kernel.assign([[kernel]])
    expected, before = 0.0, 1.0
    for beta, kernel in zip(betas, kernels, strict=True):
        before *= kernel
        expected += beta / 4 * before
    result = geometry.curvature_bound(network).normalized
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_the_product_of_theorem_1_stops_before_the_layer_itself():
    """Of one layer, `softplus(x / 2)`, it is the layer's own `M / L = (1/16) / (1/2)`;
    the sum as printed, with a product up to the layer itself, has half of it, and is
    below the curvature 1/4 of `softplus(x / 2)` at 0 by as much again (LCNN-X1).
    """
    network = keras.Sequential(
        [keras.Input((1,)), kl.Dense(1, "softplus"), kl.Dense(2)]
    )
    network.layers[0].kernel.assign([[0.5]])
    result = geometry.curvature_bound(network).normalized
    np.testing.assert_allclose(result, 1 / 8, rtol=1e-5)


def test_depth_adds_curvature_in_an_lcnn():
    """With 1-Lipschitz layers: a quarter of the sum of betas."""
    network = models.MLP((3,), 2, "lcnn", hidden=(4, 4, 4), beta=8.0)
    bound = geometry.curvature_bound(network)
    np.testing.assert_allclose(bound.lipschitz, 1.0, rtol=1e-3)
    np.testing.assert_allclose(bound.hessian, 3 * 8.0 / 4, rtol=5e-3)


def test_a_stale_singular_vector_is_not_believed():
    """The kernel that a spectral layer applies may be longer than 1 until `refresh`."""
    network = keras.Sequential([keras.Input((3,)), SpectralDense(2)])
    layer = network.layers[0]
    layer.kernel.assign([[1.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    layer.right.assign([[1.0, 0.0, 0.0]])
    stale = geometry.curvature_bound(network).lipschitz
    np.testing.assert_allclose(stale, 4.0, rtol=1e-5)
    layer.refresh()
    fresh = geometry.curvature_bound(network).lipschitz
    np.testing.assert_allclose(fresh, 1.0, rtol=1e-5)


def test_nested_shared_and_sequential_models_are_followed():
    """Each call of a shared layer counts, and a nested model is one of its parts."""
    double = kl.Rescaling(2.0)
    inner = keras.Sequential([keras.Input((2,)), kl.Rescaling(3.0)])
    inputs = keras.Input((2,))
    x = double(inner(double(inputs)))
    y = kl.Rescaling(0.5)(inputs)
    network = keras.Model(inputs, kl.Add()([x, y]))
    assert geometry.curvature_bound(network).lipschitz == 12.5
    outer = keras.Sequential([keras.Input((2,)), network, kl.Rescaling(2.0)])
    assert geometry.curvature_bound(outer).lipschitz == 25.0


def test_reading_a_network_leaves_it_as_it_was():
    """No new calls of its layers, whose `output` would then be ambiguous."""
    network = models.ResNet18((8, 8, 1), 2, "lcnn", width=1)
    before = [variable.numpy() for variable in network.variables]
    geometry.curvature_bound(network)
    assert all(layer.output is not None for layer in network.layers)
    for old, variable in zip(before, network.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy(), variable.path)


def test_max_pooling_keeps_the_lipschitz_constant_only():
    """As in VGG-11: the gradient jumps where the largest pixel changes."""
    network = keras.Sequential([keras.Input((4, 4, 1)), kl.MaxPooling2D(2)])
    network.add(kl.Flatten())
    network.add(SpectralDense(2))
    bound = geometry.curvature_bound(network)
    np.testing.assert_allclose(bound.lipschitz, 1.0, rtol=1e-3)
    assert bound.hessian == bound.loss_hessian == bound.normalized == math.inf


def subclassed():
    class Plain(keras.Model):
        pass

    return Plain(name="plain")


def with_operation():
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.ops.exp(inputs))


def two_outputs():
    inputs = keras.Input((2,))
    return keras.Model(inputs, [kl.Dense(2)(inputs), kl.Dense(2)(inputs)])


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (subclassed, "must be a functional or sequential Keras model"),
        (with_operation, "must be made of layers"),
        (two_outputs, "must have one input and one output. Received: 1 and 2"),
    ],
)
def test_other_models_are_refused_in_one_sentence(network, message):
    with pytest.raises(ValueError, match=message):
        geometry.curvature_bound(network())


def test_a_model_that_trains_has_the_bound_of_its_network():
    """By itself and as a layer of another model."""
    network = models.MLP(SHAPE, 3, "lcnn", hidden=(4,), beta=3.0)
    scatter(network, 1)
    bound = geometry.curvature_bound(network)
    model = RobustModel(network)
    assert geometry.curvature_bound(model) == bound
    inputs = keras.Input(SHAPE)
    outer = keras.Model(inputs, model(inputs))
    assert geometry.curvature_bound(outer) == bound
