"""Derivatives in the image against linear maps, by hand and by finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.penalties.common import CLASSES, SHAPE, softmax_regression
from tests.seeds import set_seeds
from tfrobust import models
from tfrobust.core.gradients import (
    class_gradients,
    gradient_and_hessian,
    gradient_scale,
    has_gradient,
    input_gradient,
    linearize,
    pullback,
    values_and_gradient,
)


def curved(seed=0):
    """A small network with batch norm, whose weights and statistics are not trivial."""
    set_seeds(seed)
    network = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(3, 2, padding="same", activation="tanh"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES),
        ]
    )
    random = np.random.default_rng(seed)
    network.layers[1].moving_mean.assign(random.normal(size=3))
    network.layers[1].moving_variance.assign(random.uniform(0.5, 2.0, 3))
    return network


@pytest.mark.parametrize("vectorize", [True, False])
def test_a_linear_network_has_the_columns_of_its_kernel(vectorize):
    """For every requested class, in the requested order, whatever the image."""
    network, images, _ = softmax_regression()
    kernel = network.get_weights()[0]
    _, pull = linearize(network, tf.constant(images))
    chosen = np.array([[3, 0], [1, 1], [2, 3]])
    gradient = class_gradients(pull, tf.constant(chosen), CLASSES, vectorize=vectorize)
    expected = kernel.T[chosen].reshape(3, 2, *SHAPE)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("vectorize", [True, False])
def test_a_curved_network_against_finite_differences(vectorize, signed):
    """In inference mode, where signs change nothing since images are independent."""
    network = curved()
    images = np.random.default_rng(1).random((2, *SHAPE), np.float32)
    chosen = tf.constant([[2, 1, 0], [0, 3, 1]])
    _, pull = linearize(network, tf.constant(images))
    signs = tf.constant([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]]) if signed else None
    gradient = class_gradients(pull, chosen, CLASSES, signs=signs, vectorize=vectorize)
    step = 1e-2
    for place in np.ndindex(SHAPE):
        moved = np.stack([images, images])
        moved[0][:, *place] += step
        moved[1][:, *place] -= step
        ends = [network(m, training=False).numpy().astype(np.float64) for m in moved]
        slope = (ends[0] - ends[1]) / (2 * step)
        expected = np.take_along_axis(slope, chosen.numpy(), axis=1)
        np.testing.assert_allclose(gradient[:, :, *place], expected, atol=2e-3)


def test_a_batch_norm_in_training_mode_mixes_images_and_signs_take_that_out():
    """Averaged over all signs, what is left is each image's own logit's gradient.

    The oracle is the Jacobian of every logit in every image, of which the diagonal over
    images is the own part.
    """
    network = curved()
    images = tf.constant(np.random.default_rng(2).random((3, *SHAPE), np.float32))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        logits = network(images, training=True)
    jacobian = tape.jacobian(logits, images).numpy()  # [b, t, b', ...]
    own = np.stack([jacobian[b, :, b] for b in range(3)])
    plain = jacobian.sum(axis=0).swapaxes(0, 1)
    chosen = tf.broadcast_to(tf.range(CLASSES), [3, CLASSES])
    pull = pullback(tape, logits, images)
    np.testing.assert_allclose(class_gradients(pull, chosen, CLASSES), plain, atol=1e-5)
    assert np.abs(plain - own).max() > 0.01
    mean = 0.0
    for bits in range(8):
        signs = np.array([1.0 if bits >> b & 1 else -1.0 for b in range(3)], np.float32)
        signs = np.repeat(signs[:, None], CLASSES, axis=1)
        mean += class_gradients(pull, chosen, CLASSES, signs=tf.constant(signs)) / 8
    np.testing.assert_allclose(mean, own, atol=1e-5)


def test_gradients_can_be_differentiated_again():
    """Through the vectorised pass as through single ones."""
    network = curved()
    images = tf.constant(np.random.default_rng(3).random((2, *SHAPE), np.float32))
    results = []
    for vectorize in (True, False):
        with tf.GradientTape() as tape:
            _, pull = linearize(network, images)
            gradients = class_gradients(
                pull, tf.constant([[0, 1], [2, 3]]), CLASSES, vectorize=vectorize
            )
            total = tf.reduce_sum(gradients**3)
        variables = network.trainable_variables[:1]
        results.append(tape.gradient(total, variables)[0])
    assert np.abs(results[0]).max() > 0
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-6)


def test_a_model_without_a_gradient_is_refused():
    with pytest.raises(ValueError, match="`model` must be differentiable"):
        _, pull = linearize(lambda x: tf.round(tf.stop_gradient(x)), tf.ones([1, 4]))
        pull(tf.ones([1, 4]))
    with pytest.raises(ValueError, match="`model` must be differentiable"):
        input_gradient(lambda x: tf.round(x[:, 0]), tf.ones([1, 4]))
    assert not has_gradient(tf.round, tf.ones([1, 4]))
    assert has_gradient(tf.abs, tf.ones([1, 4]))


def quadratic(seed=0):
    """`x' A x / 2 + b' x` of each row, with gradient `A x + b` and Hessian `A`."""
    random = np.random.default_rng(seed)
    a = random.normal(size=(4, 4)).astype(np.float32)
    a, b = a + a.T, random.normal(size=4).astype(np.float32)
    points = random.normal(size=(3, 4)).astype(np.float32)
    return lambda x: tf.reduce_sum(x * (x @ a) / 2 + x * b, axis=1), a, b, points


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_values_and_gradient_of_a_quadratic(scale):
    """A power of 2 on the way changes no bit."""
    values, a, b, points = quadratic()
    computed, gradient = values_and_gradient(values, tf.constant(points), scale)
    wide = points.astype(np.float64)
    expected = np.sum(wide * (wide @ a) / 2 + wide * b, axis=1)
    np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, wide @ a + b, rtol=1e-5, atol=1e-5)
    again = input_gradient(values, tf.constant(points))
    np.testing.assert_array_equal(gradient, again)


def test_hessian_of_a_quadratic_and_of_a_linear_map():
    values, a, b, points = quadratic()
    vectors = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    gradient, product = gradient_and_hessian(values, tf.constant(points))
    np.testing.assert_allclose(gradient, points @ a + b, rtol=1e-5, atol=1e-5)
    for _ in range(2):
        np.testing.assert_allclose(product(vectors), vectors @ a, rtol=1e-5, atol=1e-5)
    _, product = gradient_and_hessian(lambda x: 3 * x[:, 0], tf.constant(points))
    np.testing.assert_array_equal(product(vectors), np.zeros_like(vectors))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_only_float16_needs_a_scale(policy):
    """One that keeps a gradient of 1e-7 above float16's smallest number, exactly."""
    keras.config.set_dtype_policy(policy)
    scale = gradient_scale(models.MLP((2,), classes=2, hidden=(3,)))
    if policy != "mixed_float16":
        assert scale == 1.0
        return
    assert np.log2(scale) % 1 == 0
    tiny = np.finfo(np.float16).smallest_normal
    assert 1e-7 < tiny < 1e-7 * scale
