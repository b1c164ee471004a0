"""A batch that shrinks with the images that are left, against one that does not."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.attacks.common import affine
from tests.seeds import set_seeds
from tfrobust.attacks import Goal, Problem
from tfrobust.attacks.problem import inward
from tfrobust.core.classifier import as_classifier

SHAPE = (3, 4, 2)
COUNT = 19


def problem(compact, classifier=None):
    """Nineteen images, so that batches are filled up to multiples of three."""
    images = np.random.default_rng(0).random((COUNT, *SHAPE), np.float32)
    return Problem(
        classifier=classifier or affine(3),
        images=tf.constant(images),
        goal=Goal(tf.constant(np.arange(COUNT) % 3), targeted=False),
        eps=None,
        active=tf.ones([COUNT], tf.bool),
        compact=compact,
    )


def margin(logits, goal):
    return goal.margin(logits)


def squared(logits, goal):
    return tf.reduce_sum(logits**2, axis=-1) * tf.cast(goal.classes, tf.float32)


@given(active=st.lists(st.booleans(), min_size=COUNT, max_size=COUNT))
def test_active_rows_get_what_they_would_without_compaction(active):
    """Logits, values and gradients of two scores, each where it belongs."""
    active = np.array(active)
    points = tf.constant(np.random.default_rng(1).random((COUNT, *SHAPE), np.float32))
    compact, whole = (
        problem(way).gradients(points, [margin, squared], tf.constant(active))
        for way in (True, False)
    )
    for actual, expected in zip(
        tf.nest.flatten(compact), tf.nest.flatten(whole), strict=True
    ):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(
            actual.numpy()[active], expected.numpy()[active], rtol=1e-4, atol=1e-4
        )
    logits = problem(True).logits(points, tf.constant(active)).numpy()
    expected = affine(3).logits(points)
    np.testing.assert_allclose(logits[active], expected[active], atol=1e-4)


@pytest.mark.parametrize(
    ("active", "batch"), [(0, 3), (1, 3), (3, 3), (4, 6), (18, 18), (19, 19)]
)
def test_the_network_sees_the_active_rows_and_few_more(active, batch):
    """In steps of an eighth of the batch, and never none."""
    sizes = []

    def classifier(images):
        sizes.append(images.shape[0])
        return affine(3)(images)

    rows = tf.range(COUNT)[::-1] < active
    problem(True, classifier).logits(tf.zeros([COUNT, *SHAPE]), rows)
    assert sizes == [batch]


def test_a_model_without_a_path_is_refused():
    """In one sentence."""
    flat = problem(False, lambda x: affine(3)(tf.stop_gradient(x)))
    with pytest.raises(ValueError) as caught:
        flat.gradient(flat.images, margin, flat.active)
    assert str(caught.value) == (
        "`model` must be differentiable in its images. Received: the operation "
        "StopGradient at 'StopGradient', through which no gradient comes"
    )


def test_a_problem_is_frozen():
    """Attacks replace parts of it, and change none in place."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem(True).compact = False


def test_gradients_that_leave_the_range_are_left_out():
    """At 0 only rises count, at 1 only falls, in between both."""
    point = tf.constant([0.0, 0.0, 0.5, 0.5, 1.0, 1.0])
    gradient = tf.constant([-2.0, 3.0, -4.0, 5.0, -6.0, 7.0])
    np.testing.assert_array_equal(inward(gradient, point), [0, 3, -4, 5, -6, 0])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_confident_network_in_half_precision_has_its_gradients(policy):
    """Of float32's direction and length, where float16 rounds the cotangents to 0."""

    def log_odds(logits, goal):
        return tf.nn.softplus(goal.log_odds(logits))

    results = []
    for kind in ("float32", policy):
        set_seeds(0)
        dense = keras.layers.Dense(3, dtype=kind, bias_initializer=_confident)
        network = keras.Sequential(
            [
                keras.Input(SHAPE),
                keras.layers.Conv2D(4, 2, activation="tanh", dtype=kind),
                keras.layers.Flatten(dtype=kind),
                dense,
            ]
        )
        asked = problem(False, as_classifier(network))
        asked = dataclasses.replace(
            asked, goal=Goal(tf.zeros([COUNT], tf.int32), targeted=False)
        )
        gradient, logits = asked.gradient(asked.images, log_odds, asked.active)
        results.append((gradient.numpy().reshape(COUNT, -1), logits.numpy()))
    (exact, logits), (rounded, _) = results
    margins = logits[:, 0] - logits[:, 1:].max(axis=1)
    assert np.all(margins > 20)  # cotangents below 2e-9
    # A cotangent is an exponential of logits of 11 (8) digits, near 30.
    digits = {"mixed_float16": 2e-2, "mixed_bfloat16": 0.2}[policy]
    lengths = [np.linalg.norm(one, axis=1) for one in (exact, rounded)]
    np.testing.assert_allclose(lengths[1], lengths[0], rtol=digits)
    cosines = np.sum(exact * rounded, axis=1) / lengths[0] / lengths[1]
    assert np.all(cosines > 1 - digits / 10)


def _confident(shape, dtype=None):
    return tf.constant([30.0, 0.0, 1.0], dtype)


def test_scaled_cotangents_alter_no_bit():
    """Against one pass back in float32."""
    asked = problem(False)
    with tf.GradientTape() as tape:
        tape.watch(asked.images)
        logits = affine(3)(asked.images)
        total = tf.reduce_sum(squared(logits, asked.goal))
    expected = tape.gradient(total, asked.images)
    gradient, _ = asked.gradient(asked.images, squared, asked.active)
    np.testing.assert_array_equal(gradient, expected)
