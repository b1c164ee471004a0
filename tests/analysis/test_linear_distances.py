"""The linear distance against closed forms, NumPy's Jacobian and DeepFool."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import affine
from tests.seeds import set_seeds
from tfrobust import attacks
from tfrobust.analysis import linear_distance

DUALS = {1: np.inf, 2: 2, "inf": 1}


@pytest.mark.parametrize("norm", DUALS)
def test_of_a_linear_network_it_is_the_distance(norm):
    """To the nearest of the hyperplanes, in closed form; 0 where another class won."""
    model = affine(4, seed=3)
    images = np.random.default_rng(0).uniform(0.4, 0.6, (7, 3, 4, 2))
    images = images.astype(np.float32)
    logits = model.logits(images)
    expected = []
    for row in logits:
        gaps = row[0] - np.delete(row, 0)
        normals = model.weights[:, :1] - np.delete(model.weights, 0, axis=1)
        steep = np.linalg.norm(normals, ord=DUALS[norm], axis=0)
        expected.append(np.min(np.maximum(gaps, 0.0) / steep))
    found = linear_distance(model, images, np.zeros(7, int), norm=norm, batch_size=3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    wrong = linear_distance(model, images, logits.argmin(axis=1), norm=norm)
    np.testing.assert_array_equal(wrong, 0.0)


def small_network():
    set_seeds(1)
    images = keras.Input((4, 4, 1))
    hidden = keras.layers.Dense(8, "tanh")(keras.layers.Flatten()(images))
    return keras.Model(images, keras.layers.Dense(3)(hidden))


def test_a_jacobian_by_differences_in_float64():
    """The formula, class by class, of a network with a curved answer."""
    network = small_network()
    first, bias, second, offset = (w.numpy().astype(float) for w in network.weights)

    def logits(image):
        return np.tanh(image.ravel() @ first + bias) @ second + offset

    images = np.random.default_rng(0).uniform(size=(5, 4, 4, 1)).astype(np.float32)
    labels = np.array([logits(image).argmax() for image in images])
    expected = []
    for image, label in zip(images.astype(float), labels, strict=True):
        steps = 1e-5 * np.eye(16).reshape(16, 4, 4, 1)
        jacobian = [(logits(image + s) - logits(image - s)) / 2e-5 for s in steps]
        slopes = np.stack(jacobian, axis=1)
        answer = logits(image)
        expected.append(
            min(
                (answer[label] - answer[k]) / np.linalg.norm(slopes[label] - slopes[k])
                for k in range(3)
                if k != label
            )
        )
    found = linear_distance(network, images, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_deepfools_first_step_goes_that_far():
    """Of a network that bends little, whose boundary one step reaches."""
    model = affine(3)
    images = tf.fill([1, 3, 4, 2], 0.5)
    result = attacks.DeepFool(overshoot=0.0, steps=3)(model, images, [0])
    found = linear_distance(model, images, [0])
    np.testing.assert_allclose(result.distortion, found, rtol=1e-2)


def test_without_a_slope_it_is_infinite():
    def flat(images):
        total = 0.0 * tf.reduce_sum(images, axis=[1, 2, 3])
        return tf.stack([total + 2.0, total - 1.0], axis=-1)

    assert linear_distance(flat, np.zeros((1, 2, 2, 1), np.float32), [0]) == [np.inf]


def test_other_norms_are_refused():
    with pytest.raises(ValueError, match=r"`norm` must be one of .* Received: norm=3"):
        linear_distance(None, np.zeros((1, 2, 2, 1)), [0], norm=3)
