"""Random directions: their lengths, their mean, and what they depend on."""

import numpy as np
import tensorflow as tf

from tfrobust.geometry.directions import over_directions

IMAGES = tf.constant(np.random.default_rng(0).random((3, 5, 4, 2)), tf.float32)
RADII = tf.constant([0.25, 2.0])


def over(measure, images=IMAGES, samples=1, seed=0):
    return over_directions(measure, images, RADII, samples, seed).numpy()


def first(step):
    """The first entry of each displacement."""
    return step[:, 0, 0, 0]


def test_displacements_are_as_long_as_the_radius():
    lengths = over(lambda d: tf.sqrt(tf.reduce_sum(d * d, [1, 2, 3])), samples=3)
    np.testing.assert_allclose(lengths, [[0.25] * 3, [2.0] * 3], rtol=1e-5)


def test_a_direction_is_that_of_the_image_and_the_seed():
    """The same at every radius and in another batch."""
    whole = over(first)
    np.testing.assert_allclose(whole[1], 8 * whole[0], rtol=1e-5)
    np.testing.assert_allclose(over(first, IMAGES[1:2])[:, 0], whole[:, 1], rtol=1e-5)
    assert np.abs(over(first, seed=1) - whole).min() > 1e-4


def test_directions_are_uniform_and_averaged():
    """Over many, an entry has mean 0 and its square `r^2 / 40`."""
    mean = over(first, samples=4000)
    square = over(lambda d: first(d) ** 2, samples=4000)
    np.testing.assert_allclose(mean[1], 0.0, atol=5 * 2 / np.sqrt(40 * 4000))
    np.testing.assert_allclose(square[1], 4 / 40, rtol=0.15)
