"""Changes of variable against automatic differentiation and explicit matrices."""

import numpy as np
import pytest
import tensorflow as tf

from tfrobust.attacks.spaces import Clipped, Smoothed, Tanh
from tfrobust.smoothing import Smoother

SHAPE = (5, 4, 2)


def some_images(count=3, low=0.2, high=0.8):
    rng = np.random.default_rng(0)
    return tf.constant(rng.uniform(low, high, (count, *SHAPE)), tf.float32)


def normals(seed, count=3):
    return tf.random.stateless_normal([count, *SHAPE], [seed, 0])


def smoothed(images, weight=0.0):
    """Solved to float32 precision, so that a gradient is that of the function."""
    smoother = Smoother(images, alpha=0.8, iterations=60, bandwidth=0.3)
    return Smoothed(images, smoother, weight), smoother


@pytest.mark.parametrize("space", [Clipped(), Tanh()])
def test_the_start_stands_for_the_image(space):
    """To an eighth of an 8-bit level in tanh space, to float32 in clip space."""
    images = tf.reshape(tf.linspace(0.0, 1.0, 40), [1, *SHAPE])
    variable, carry = space.start(images)
    assert np.all(np.isfinite(variable))
    image, _ = space.to_image(variable, carry)
    tolerance = 1 / 255 / 7 if isinstance(space, Tanh) else 1e-7
    np.testing.assert_allclose(image, images, atol=tolerance)


def test_the_smooth_start_is_the_image_itself():
    """No perturbation, bit for bit."""
    images = some_images(low=0.0, high=1.0)
    space, _ = smoothed(images)
    np.testing.assert_array_equal(space.to_image(*space.start(images))[0], images)


def test_gradients_in_tanh_space_are_those_of_the_chain_rule():
    """Of squared distance and a linear loss, at the bounds too."""
    space, slope = Tanh(), normals(1, 1)
    images = tf.reshape(tf.linspace(0.0, 1.0, 40), [1, *SHAPE])
    variable, _ = space.start(images)
    variable += 0.1 * normals(2, 1)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        delta = space.to_image(variable, ())[0] - images
        total = tf.reduce_sum(delta * delta + delta * slope)
    gradient, _ = space.to_gradient(variable, delta, slope, ())
    np.testing.assert_allclose(gradient, tape.gradient(total, variable), atol=1e-6)


def test_gradients_in_clip_space_do_not_leave_the_range():
    """A descent from 0 or 1 goes inwards or not at all; elsewhere it is `2 d + g`."""
    point = tf.reshape(tf.constant([0.0, 0.0, 0.5, 1.0, 1.0]), [1, 1, 5, 1])
    slope = tf.reshape(tf.constant([1.0, -1.0, 1.0, 1.0, -1.0]), [1, 1, 5, 1])
    delta = tf.fill(point.shape, 0.25)
    gradient, _ = Clipped().to_gradient(point, delta, slope, ())
    expected = [0.0, -0.5, 1.5, 1.5, 0.0]
    np.testing.assert_allclose(gradient[0, 0, :, 0], expected)
    moved = tf.reshape(tf.constant([-0.5, 0.5, 2.0]), [1, 1, 3, 1])
    np.testing.assert_array_equal(Clipped().limit(moved)[0, 0, :, 0], [0.0, 0.5, 1.0])


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_the_smooth_gradient_is_that_of_equation_18(weight):
    """Automatic differentiation of the whole objective, clipped pixels included."""
    images = some_images(low=0.0, high=1.0)
    space, smoother = smoothed(images, weight)
    slope, variable = normals(3), 0.8 * normals(4)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        r = smoother(variable)
        distortion = tf.reduce_sum(
            r * r + weight * r * (r - smoother.graph.multiply(r))
        )
        loss = tf.reduce_sum(slope * tf.clip_by_value(images + r, 0.0, 1.0))
        total = distortion + loss
    image, carry = space.to_image(variable, space.start(images)[1])
    # Some pixels must be clipped and others not for this to say anything.
    clipped = np.mean((image == 0.0) | (image == 1.0))
    assert 0.05 < clipped < 0.95
    np.testing.assert_allclose(image, tf.clip_by_value(images + r, 0, 1), atol=1e-5)
    gradient, _ = space.to_gradient(variable, image - images, slope, carry)
    np.testing.assert_allclose(gradient, tape.gradient(total, variable), atol=2e-5)
    counted = tf.reduce_sum(space.distortion(image - images, carry))
    np.testing.assert_allclose(counted, distortion, rtol=1e-4)


def test_the_penalty_is_that_of_equation_14():
    """`mu sum_ij w_ij |r_i / sqrt(d_i) - r_j / sqrt(d_j)|^2`, pair by pair in float64.

    Over all ordered pairs of pixels, channels together: `2 mu <r, (I - W) r>`, so that
    `roughness_weight` is 2 mu. At alpha 0, where r is the variable itself.
    """
    images, mu, height, width = some_images(), 0.7, SHAPE[0], SHAPE[1]
    smoother = Smoother(images, alpha=0.0, bandwidth=0.3)
    space, r = Smoothed(images, smoother, 2 * mu), normals(6)
    image, carry = space.to_image(r, space.start(images)[1])
    found = space.distortion(image - images, carry)
    places = [(y, x) for y in range(height) for x in range(width)]
    for row in range(len(images)):
        x, change = (np.asarray(each[row], np.float64) for each in (images, r))
        weights = np.zeros((len(places), len(places)))
        for i, (y1, x1) in enumerate(places):
            for j, (y2, x2) in enumerate(places):
                if abs(y1 - y2) + abs(x1 - x2) == 1:
                    apart = np.sqrt(np.sum((x[y1, x1] - x[y2, x2]) ** 2))
                    weights[i, j] = np.exp(-apart / 0.3)
        scaled = change.reshape(len(places), -1)
        scaled = scaled / np.sqrt(weights.sum(axis=1))[:, None]
        penalty = sum(
            weights[i, j] * np.sum((scaled[i] - scaled[j]) ** 2)
            for i in range(len(places))
            for j in range(len(places))
        )
        expected = np.sum(change**2) + mu * penalty
        np.testing.assert_allclose(found[row], expected, rtol=1e-5)


def test_a_warm_start_needs_fewer_steps():
    """A thousandth further on, three steps are closer than three from zero."""
    images = some_images()
    smoother = Smoother(images, alpha=0.95, iterations=3, bandwidth=0.3)
    exact = Smoother(images, alpha=0.95, iterations=200, bandwidth=0.3)
    space, variable = Smoothed(images, smoother, 0.0), 0.1 * normals(5)
    near = exact.smooth(variable * 0.999)
    expected = images + exact.smooth(variable) / smoother.of_ones
    cold, _ = space.to_image(variable, space.start(images)[1])
    warm, carry = space.to_image(variable, (near, near))
    error = [np.linalg.norm(x - expected) for x in (cold, warm)]
    assert error[1] < 0.01 * error[0]
    np.testing.assert_allclose(carry[0], exact.smooth(variable), atol=1e-3)
