"""Projective transforms against TensorFlow's own, their derivative by its matrix."""

import numpy as np
import pytest
import tensorflow as tf

from tests.core.test_second_derivatives import derivatives, linear_oracle
from tfrobust.core.image_transforms import interpolate

MODES = ("CONSTANT", "NEAREST", "REFLECT", "WRAP")
RNG = np.random.default_rng(0)
SIZE = (5, 6)


def transforms(count, seed=0):
    """Mild and wild ones, some of which send the horizon through the image."""
    random = np.random.default_rng(seed)
    eye = np.array([1, 0, 0, 0, 1, 0, 0, 0], np.float32)
    wild = random.normal(size=(count, 8)) * [1, 1, 9, 1, 1, 9, 0.05, 0.05]
    return (eye + wild).astype(np.float32)


def transform(images, matrices, size, mode, interpolation):
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrices,
        output_shape=size,
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode=mode,
    )


@pytest.mark.parametrize("interpolation", ["BILINEAR", "NEAREST"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(64, 7, 4, 2), (64, 1, 3, 1)])
def test_the_values_are_those_of_tensorflow(shape, mode, interpolation):
    images = RNG.normal(size=shape).astype(np.float32)
    settings = (tf.constant(transforms(shape[0])), tf.constant(SIZE))
    expected = transform(images, *settings, mode, interpolation)
    computed = interpolate(tf.constant(images), *settings, mode, interpolation)
    assert np.abs(expected).max() > 0.5
    # Where rounding decides which pixel it is, two programs may differ.
    same = np.abs(computed - expected) < 1e-3
    assert np.mean(same) > 0.998


@pytest.mark.parametrize("interpolation", ["BILINEAR", "NEAREST"])
@pytest.mark.parametrize("mode", MODES)
def test_both_derivatives_are_those_of_its_matrix(mode, interpolation):
    images = RNG.uniform(0.1, 0.9, (1, 4, 5, 2)).astype(np.float32)
    vectors = RNG.normal(size=images.shape).astype(np.float32)
    turned = np.array([[0.8, -0.5, 1.3, 0.6, 0.9, -0.7, 0.02, -0.01]], np.float32)

    def rotate(x):
        places = tf.broadcast_to(turned, [tf.shape(x)[0], 8])
        return transform(x, places, SIZE, mode, interpolation)

    computed = derivatives(rotate, images, vectors, True)
    expected = linear_oracle(rotate, images, vectors)
    for one, other in zip(computed, expected, strict=True):
        assert np.abs(other).max() > 0.1
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-4)
