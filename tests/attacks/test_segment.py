"""The search on the line back to the image."""

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import Affine, conv_images, convnet, distances
from tests.attacks.recording import recorded
from tfrobust.attacks import DeepFool
from tfrobust.attacks.segment import nearer_on_segment

SHAPE = (1, 2, 1)


def test_an_affine_boundary_is_found_at_once():
    """Where two of three classes cross; a third, which never leads, is idle."""
    model = Affine([[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [0.5, 0.0, -9.0])
    images, far = np.zeros((1, *SHAPE), np.float32), np.ones((1, *SHAPE), np.float32)
    problem, asked = recorded(model, images, [0])
    found, count = nearer_on_segment(
        problem, far, model(images), model(far), problem.active
    )
    np.testing.assert_allclose(found, 0.25, atol=2e-4)
    assert np.all(found[0] > 0.25)
    assert count[0] == len(asked) == 3
    np.testing.assert_allclose(asked[0], 0.2501, atol=1e-6)


def test_two_boundaries_on_the_way():
    """Class 2 lies between the label's and class 1: the nearer boundary is found."""
    # Leads over class 0: class 1 from 0.5 on, class 2 from 0.3 on.
    model = Affine([[0.0, 4.0, 2.0], [0.0, 0.0, 0.0]], [0.0, -2.0, -0.6])
    images, far = np.zeros((1, *SHAPE), np.float32), np.ones((1, *SHAPE), np.float32)
    problem, _ = recorded(model, images, [0])
    found, _ = nearer_on_segment(
        problem, far, model(images), model(far), problem.active
    )
    np.testing.assert_allclose(found, 0.3, atol=5e-4)
    # With class 1 for a target it is where this takes over from class 2, at 0.7.
    problem, _ = recorded(model, images, [1], targeted=True)
    found, _ = nearer_on_segment(
        problem, far, model(images), model(far), problem.active
    )
    assert np.argmax(model.logits(found.numpy())[0]) == 1
    np.testing.assert_allclose(found, 0.7, atol=0.02)


def test_rows_that_are_not_active_come_back_bit_for_bit():
    """And count no question."""
    model = Affine([[-1.0, 1.0], [0.0, 0.0]], [0.5, 0.0])
    images = np.zeros((3, *SHAPE), np.float32)
    points = np.random.default_rng(0).uniform(0.6, 1, (3, *SHAPE)).astype(np.float32)
    problem, _ = recorded(model, images, [0] * 3)
    active = tf.constant([False, True, False])
    ends = model(images), model(points)
    found, count = nearer_on_segment(problem, points, *ends, active)
    np.testing.assert_array_equal(found[::2], points[::2])
    np.testing.assert_array_equal(count, [0, 3, 0])
    none = tf.constant([False] * 3)
    found, _ = nearer_on_segment(problem, points, *ends, none)
    np.testing.assert_array_equal(found, points)


def test_the_answer_is_a_success_that_was_asked_about():
    """On a network, from far beyond its boundary: near to it, and no guess."""
    images, labels = conv_images(8)
    far = DeepFool(overshoot=0.5)(convnet(), images, labels).adversarial
    problem, asked = recorded(
        lambda points: convnet()(points, training=False), images, labels
    )
    ends = problem.classifier(problem.images), problem.classifier(far)
    found, _ = nearer_on_segment(problem, far, *ends, problem.active)
    for row in range(8):
        assert any(np.array_equal(found[row], batch[row]) for batch in asked)
    answers = np.argmax(convnet()(found, training=False), axis=-1)
    assert np.all(answers != labels)
    # The boundary on a grid of the line, from the far end on.
    shares = np.linspace(1.0, 0.0, 501, dtype=np.float32)[:, None, None, None]
    for row, label in enumerate(labels):
        line = images[row] + shares * (far[row] - images[row])
        answers = np.argmax(convnet()(line, training=False), axis=-1)
        crossing = float(shares[np.argmax(answers == label), 0, 0, 0])
        share = distances(images, found, 2)[row] / distances(images, far, 2)[row]
        assert crossing - 1e-3 < share < crossing + 0.02


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_no_success(bad):
    """Half-way the model breaks down; what was known before stays."""

    def model(points):
        value = points[:, 0, 0, 0]
        broken = tf.where((value > 0.3) & (value < 0.9), bad, 0.0)
        return tf.stack([1.0 - 2.0 * value + broken, tf.zeros_like(value)], axis=-1)

    images, far = tf.zeros([1, *SHAPE]), tf.ones([1, *SHAPE])
    problem, _ = recorded(model, images, [0])
    found, _ = nearer_on_segment(
        problem, far, model(images), model(far), problem.active
    )
    np.testing.assert_array_equal(found, far)
