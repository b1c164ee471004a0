"""sigma-zero on models of which the fewest changes are known."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import affine, conv_images, convnet
from tests.attacks.minimal import answers, binary_model, random_images
from tfrobust.attacks import DDN, SigmaZero


def fewest(model, image):
    """Changes that a half-space needs within the box: the largest gains first."""
    x = np.asarray(image, np.float64).ravel()
    logits = model.logits(image[None])[0]
    label = int(np.argmax(logits))
    normal = model.weights[:, 1 - label] - model.weights[:, label]
    gains = np.sort(np.where(normal > 0, normal * (1 - x), -normal * x))[::-1]
    return 1 + int(np.sum(np.cumsum(gains) <= logits[label] - logits[1 - label]))


def fewest_of_all(model, image):
    """The same of several classes, by trying every choice of entries and corners."""
    x = np.asarray(image, np.float64).ravel()
    label = int(np.argmax(model.logits(image[None])[0]))
    for count in range(len(x) + 1):
        for chosen in itertools.combinations(range(len(x)), count):
            for corner in itertools.product((0.0, 1.0), repeat=count):
                tried = x.copy()
                tried[list(chosen)] = corner
                if np.argmax(model.logits(tried[None])[0]) != label:
                    return count
    return np.inf


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.8), (-0.5, 1.5)])
def test_finds_the_fewest_changes_of_a_linear_model(low, high):
    """Never fewer, at most one more, and a tenth more in the mean."""
    model, images = binary_model(offset=4.0), random_images(12, low, high)
    exact = np.array([fewest(model, image) for image in images])
    assert exact.max() > exact.min()
    result = SigmaZero(steps=300)(model, images, answers(model, images))
    assert np.all(result.success)
    changed = np.count_nonzero(
        (result.adversarial.numpy() != images).reshape(12, -1), axis=1
    )
    np.testing.assert_array_equal(result.distortion, changed)
    assert np.all(changed >= exact) and np.all(changed <= exact + 1)
    assert np.mean(changed) <= 1.1 * np.mean(exact), (changed, exact)


def test_finds_the_fewest_changes_among_all_choices():
    """Three classes and six entries, by brute force."""
    model = affine(3, (2, 3, 1), seed=5, lead=0.8)
    images = np.random.default_rng(6).random((8, 2, 3, 1), np.float32)
    labels = np.argmax(model.logits(images), axis=1)
    exact = np.array([fewest_of_all(model, image) for image in images])
    assert exact.max() > 1 and exact.max() < np.inf
    result = SigmaZero()(model, images, labels)
    assert np.all(result.success)
    assert np.all(result.distortion >= exact)
    assert np.mean(result.distortion) <= 1.2 * np.mean(exact), result.distortion


def test_changes_fewer_entries_than_what_looks_for_short_perturbations():
    images, labels = conv_images(8)
    result = SigmaZero()(convnet(), images, labels)
    dense = DDN()(convnet(), images, labels).adversarial.numpy() != images
    assert np.all(result.success)
    assert np.all(result.distortion < 0.5 * dense.sum(axis=(1, 2, 3)))


@pytest.mark.slow
def test_more_steps_change_no_more_entries():
    images, labels = conv_images(12)
    few, many = (
        SigmaZero(steps=steps)(convnet(), images, labels) for steps in (15, 300)
    )
    assert np.all(many.success)
    assert np.mean(many.distortion) <= np.mean(few.distortion)


def test_the_slope_of_the_smooth_count_is_its_derivative():
    """By central differences in float64, at entries about sqrt(sigma) too."""
    attack = SigmaZero(sigma=1e-2)
    delta = np.random.default_rng(0).normal(size=(3, 2, 3, 2)) * 0.1
    delta[0, 0, 0] = 0.0

    def counts(delta):
        return delta**2 / (delta**2 + 1e-2) / 12

    expected = (counts(delta + 1e-6) - counts(delta - 1e-6)) / 2e-6
    slope = attack._slope_of_count(tf.constant(delta, tf.float32))
    # float32, and differences of 1e-6 in float64.
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_target_is_reached():
    images, labels = conv_images(4)
    targets = (labels + 1) % 3
    result = SigmaZero()(convnet(), images, labels, targets)
    found = np.argmax(convnet()(result.adversarial, training=False), axis=1)
    assert np.all(result.success)
    np.testing.assert_array_equal(found, targets)
