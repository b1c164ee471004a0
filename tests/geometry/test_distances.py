"""Distances to another answer: closed forms, the propositions, independence."""

import numpy as np
import pytest
import tensorflow as tf

from tfrobust import attacks, geometry, models

SHAPE = (5, 4, 2)


def some_images(count=6, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)


def network():
    return models.MLP(SHAPE, 4, "lcnn", hidden=(9,), beta=3.0)


def test_linear_classifier_in_closed_form():
    """The margin distance is the distance to the hyperplane between the best two, which
    DeepFool's first step covers too; margins are differences of sorted logits.
    """
    random = np.random.default_rng(1)
    matrix = random.normal(size=(40, 2))
    images = some_images()

    def model(x):
        return tf.reshape(x, [-1, 40]) @ tf.constant(matrix, tf.float32)

    estimate = geometry.robustness(model, images)
    logits = images.reshape(-1, 40).astype(np.float64) @ matrix
    margin = np.abs(logits[:, 0] - logits[:, 1])
    distance = margin / np.linalg.norm(matrix[:, 0] - matrix[:, 1])
    np.testing.assert_array_equal(estimate.classes, logits.argmax(1))
    np.testing.assert_allclose(estimate.margin, margin, rtol=1e-4)
    np.testing.assert_allclose(estimate.margin_distance, distance, rtol=1e-4)
    near = distance < 0.3  # further away the bounds of [0, 1] bend DeepFool's way
    assert near.any()
    away = attacks.DeepFool(overshoot=0.0)(model, images, logits.argmax(1))
    np.testing.assert_allclose(
        np.asarray(away.distortion)[near], distance[near], rtol=0.05
    )


def test_distances_are_proposition_2():
    """From the norms that `curvature` finds and the loss in float64, by the NumPy
    function; the curved distance is the shorter one.
    """
    model, images = network(), some_images()
    logits = np.asarray(model(images), np.float64)
    labels = logits.argmax(1)
    loss = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1))
    gradient, hessian, bend = (
        value.numpy() for value in geometry.curvature(model, images, labels)
    )
    estimate = geometry.robustness(model, images)
    np.testing.assert_allclose(estimate.gradient_norm, gradient, rtol=1e-5)
    np.testing.assert_allclose(estimate.hessian_norm, hessian, rtol=1e-5)
    np.testing.assert_allclose(estimate.curvature, bend, rtol=1e-5)
    gap = np.log(2) - loss
    for value, curved in ((estimate.distance_linear, 0.0), (estimate.distance, bend)):
        expected = geometry.robust_radius(gap, gradient, curved)
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-6)
    assert np.all(estimate.distance <= estimate.distance_linear)


def test_at_the_distance_the_answer_is_undecided():
    """Of two classes and a logistic loss in one dimension the cross-entropy reaches
    log(2) where the logits are equal; the curved distance is short of it, by what a
    quadratic misses, and the linear one is beyond.
    """

    def model(x):
        return tf.concat([x, -x], axis=-1)

    points = np.float32([[0.05], [0.2]])
    estimate = geometry.robustness(model, points)
    true = points[:, 0]
    np.testing.assert_allclose(estimate.margin_distance, true, rtol=1e-5)
    np.testing.assert_allclose(estimate.distance, true, rtol=0.03)
    assert np.all(estimate.distance_linear > true)


def test_a_flat_classifier_is_infinitely_far():
    """No gradient and a margin: infinite, without NaN; no margin either: 0."""

    def model(x):
        flat = 0.0 * tf.reduce_sum(x, axis=[1, 2, 3])
        return tf.stack([flat + 3.0, flat], axis=1)

    estimate = geometry.robustness(model, some_images(2))
    assert np.all(np.isposinf(estimate.margin_distance))
    assert np.all(np.isposinf(estimate.distance)) and np.all(estimate.hessian_norm == 0)

    def undecided(x):
        flat = 0.0 * tf.reduce_sum(x, axis=[1, 2, 3])
        return tf.stack([flat, flat, flat], axis=1)

    estimate = geometry.robustness(undecided, some_images(2))
    assert np.all(estimate.margin_distance == 0) and np.all(estimate.distance == 0)


def test_each_image_has_its_own_iterations():
    """A batch with a number for each image equals each image alone with that number,
    whatever the others ask for; more are never below fewer.
    """
    model, images = network(), some_images(4)
    counts = np.int32([1, 7, 2, 12])
    together = geometry.robustness(model, images, tf.constant(counts))
    for row, count in enumerate(counts):
        alone = geometry.robustness(model, images[row : row + 1], int(count))
        for name, value in alone._asdict().items():
            np.testing.assert_allclose(
                getattr(together, name)[row], value[0], rtol=1e-5, err_msg=name
            )
    few = geometry.hessian_norm(model, images, [0] * 4, iterations=1)
    many = geometry.hessian_norm(model, images, [0] * 4, iterations=12)
    assert np.all(many >= few * (1 - 1e-5)) and np.any(many > few * 1.001)


@pytest.mark.slow
@pytest.mark.parametrize("jit", [False, True])
def test_inside_a_graph(jit):
    """Of unknown batch size, compiled or not; one trace for all.

    Compiled, random directions are others: both iterate until that does not matter.
    """
    model, images = network(), some_images()
    traces = []

    counts = tf.TensorSpec([None], tf.int32)
    pixels = tf.TensorSpec([None, *SHAPE])

    @tf.function(jit_compile=jit, autograph=False, input_signature=[pixels, counts])
    def graph(x, iterations):
        traces.append(1)
        return geometry.robustness(model, x, iterations)

    expected = geometry.robustness(model, images, 100)
    result = graph(images, np.full(6, 100, np.int32))
    graph(images[:2], np.full(2, 1, np.int32))
    assert len(traces) == 1
    for ours, theirs in zip(result, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-6)


def test_bad_input_is_refused():
    """Whole numbers, and a model without a gradient."""
    with pytest.raises(ValueError, match=r"^`images` must be floating"):
        geometry.robustness(network(), np.zeros((1, *SHAPE), np.int32))
    with pytest.raises(ValueError, match=r"^`model` must be differentiable"):
        geometry.robustness(lambda x: tf.ones([2, 3]), some_images(2))
