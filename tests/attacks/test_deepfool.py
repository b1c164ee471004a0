"""DeepFool on affine models, where its first step is exact."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import Affine, affine, conv_images, convnet, distances
from tests.attacks.minimal import (
    SHAPE,
    answers,
    binary_model,
    boundary_distance,
    random_images,
)
from tfrobust.attacks import DDN, DeepFool


@functools.cache
def level(classes):
    """No class ahead of the others; one model for several tests, as none changes it."""
    return affine(classes, SHAPE, lead=0.0)


def closed_form(model, images, labels):
    """`min_k |f_k - f_y| / ||w_k - w_y||` in float64, and the step that takes it."""
    logits = model.logits(images)
    steps, lengths = [], []
    for row, label in zip(logits, labels, strict=True):
        normals = model.weights - model.weights[:, [label]]
        missing = row[label] - row
        length = np.full(len(row), np.inf)
        others = np.arange(len(row)) != label
        size = np.linalg.norm(normals, axis=0)
        length[others] = missing[others] / size[others]
        best = int(np.argmin(length))
        steps.append(missing[best] * normals[:, best] / size[best] ** 2)
        lengths.append(length[best])
    return np.array(lengths), np.array(steps).reshape(np.shape(images))


@pytest.mark.parametrize("overshoot", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_affine_models_are_fooled_at_the_closed_form_distance(classes, overshoot):
    """Times one plus the overshoot, in that direction, and in one step."""
    model = level(classes)
    images = random_images(8, 0.35, 0.65)
    labels = answers(model, images)
    lengths, steps = closed_form(model, images, labels)
    expected = images + (1 + overshoot) * steps
    assert expected.min() > 0 and expected.max() < 1  # the box is not in the way
    result = DeepFool(steps=1, overshoot=overshoot)(model, images, labels)
    assert np.all(result.success)
    # Aimed 1e-4 logits beyond the boundary.
    np.testing.assert_allclose(
        result.distortion, (1 + overshoot) * lengths, rtol=1e-3, atol=3e-5
    )
    np.testing.assert_allclose(result.adversarial, expected, atol=5e-5)


def test_the_nearest_boundary_need_not_be_that_of_the_runner_up():
    """A class with a lower logit and a steeper slope; a single candidate misses it."""
    weights = np.zeros((24, 3))
    weights[0, 1], weights[1, 2] = 1.0, 10.0
    model = Affine(weights, [0.0, -0.6, -6.0])
    images = np.full((1, *SHAPE), 0.5, np.float32)
    # Margins 0.1 and 1.0, so distances 0.1 and 0.1: tilt towards the third class.
    model.bias[2] = -5.5
    result = DeepFool(overshoot=0.0)(model, images, [0])
    assert float(result.distortion[0]) == pytest.approx(0.05, rel=1e-3)
    narrow = DeepFool(overshoot=0.0, candidates=1)(model, images, [0])
    assert narrow.success[0]
    assert float(narrow.distortion[0]) == pytest.approx(0.1, rel=2e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_targets_are_reached_where_they_lead(classes):
    """Of two classes at the closed form; of three, past both boundaries."""
    model = level(classes)
    images = random_images(6, 0.4, 0.6)
    labels = answers(model, images)
    targets = (labels + 1) % classes
    result = DeepFool()(model, images, labels, targets)
    assert np.all(result.success)
    np.testing.assert_array_equal(answers(model, result.adversarial), targets)
    logits, rows = model.logits(images), np.arange(6)
    normals = (model.weights[:, targets] - model.weights[:, labels]).T
    least = (logits[rows, labels] - logits[rows, targets]) / np.linalg.norm(
        normals, axis=1
    )
    assert np.all(result.distortion >= least * (1 - 1e-4))
    if classes == 2:
        np.testing.assert_allclose(
            result.distortion, 1.02 * least, rtol=1e-3, atol=3e-5
        )


def test_pixels_that_stop_at_a_bound_are_made_good_by_others():
    """Steps are clipped to the box, and repeated until the model is fooled."""
    model, images = binary_model(offset=3.0), random_images(6, -0.5, 1.5)
    result = DeepFool()(model, images, answers(model, images))
    assert np.all(result.success)
    assert np.any(result.distortion > 1.05 * boundary_distance(model, images, 2))


def test_a_curved_network_is_fooled_near_the_boundary():
    """No farther than a tenth beyond what another minimal attack finds."""
    images, labels = conv_images(8)
    result = DeepFool()(convnet(), images, labels)
    other = DDN(steps=200)(convnet(), images, labels)
    assert np.all(result.success)
    assert np.all(result.distortion < 1.1 * other.distortion)
    np.testing.assert_allclose(
        result.distortion, distances(images, result.adversarial, 2), rtol=1e-5
    )


def test_images_that_are_through_are_left_alone():
    """One falls at the first step, beside one that needs many."""
    curved = binary_model(offset=3.0)
    easy = random_images(1, 0.45, 0.55)
    hard = random_images(1, -1.5, 2.5, seed=5)
    images = np.concatenate([easy, hard])
    labels = answers(curved, images)
    together = DeepFool()(curved, images, labels).adversarial
    alone = DeepFool()(curved, easy, labels[:1]).adversarial
    np.testing.assert_allclose(together[:1], alone, atol=1e-6)


def test_steps_end_the_search():
    """A slope that points the wrong way is followed to the last step."""

    def model(images):
        margin = tf.reduce_sum(images, axis=[1, 2, 3]) - 12.0 + 4.0
        # A tenth of the true slope, so that steps are ten times too short.
        short = tf.stop_gradient(margin) + 10.0 * (margin - tf.stop_gradient(margin))
        return tf.stack([short, tf.zeros_like(short)], axis=-1)

    images = np.full((1, *SHAPE), 0.5, np.float32)
    assert not DeepFool(steps=3, overshoot=0.0)(model, images, [0]).success[0]
    assert DeepFool(steps=150)(model, images, [0]).success[0]


@pytest.mark.parametrize("scale", [1e-20, 1e-4, 1e6])
def test_the_scale_of_the_logits_does_not_matter(scale):
    """The same distances for logits of any size."""
    model = level(3)
    images = random_images(8, 0.35, 0.65)
    labels = answers(model, images)
    scaled = Affine(scale * model.weights, scale * model.bias)
    expected = DeepFool()(model, images, labels).distortion
    result = DeepFool()(scaled, images, labels)
    assert np.all(result.success)
    np.testing.assert_allclose(result.distortion, expected, rtol=1e-3)
