"""Carlini and Wagner's attack on models whose nearest boundary is known."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import Affine, conv_images, convnet
from tests.attacks.minimal import (
    SHAPE,
    answers,
    binary_model,
    boundary_distance,
    boxed,
    random_images,
)
from tfrobust.attacks import CarliniWagnerL2, Goal, Problem

SPACES = ["clip", "tanh"]
every_space = pytest.mark.parametrize("space", SPACES)


@every_space
def test_finds_the_boundary_of_a_linear_model(space):
    """Within 2 % of `|f_0 - f_1| / ||w||_2`, never below it."""
    model, images = binary_model(), random_images(6, 0.4, 0.6)
    exact = boundary_distance(model, images, 2)
    assert exact.max() > 2 * exact.min()
    patient = CarliniWagnerL2(space=space, early_abort=False)
    # Ending a search early costs some per cent of the distortion.
    for attack, tolerance in ((patient, 0.02), (CarliniWagnerL2(space=space), 0.1)):
        result = attack(model, images, answers(model, images))
        assert np.all(result.success)
        assert np.all(result.distortion >= exact * (1 - 1e-4))
        np.testing.assert_allclose(result.distortion, exact, rtol=tolerance)


@every_space
def test_finds_the_boundary_where_the_box_is_in_the_way(space):
    """Pixels between 0.02 and 0.98 that run into the bounds; by bisection."""
    model, images = binary_model(offset=3.0), random_images(6, -1.0, 2.0)
    images = np.clip(images, 0.02, 0.98)
    exact = np.array([boxed(model, image, 2) for image in images])
    assert np.mean(exact > 1.05 * boundary_distance(model, images, 2)) > 0.5
    attack = CarliniWagnerL2(space=space, early_abort=False)
    result = attack(model, images, answers(model, images))
    assert np.all(result.success)
    assert np.all(result.distortion >= exact * (1 - 1e-4))
    np.testing.assert_allclose(result.distortion, exact, rtol=0.02)


@every_space
def test_pixels_of_exactly_0_and_1_move(space):
    """All of them are; in tanh space, where they hardly have a slope, they do move."""
    model = binary_model(offset=1.0)
    images = (random_images(5, 0, 1) > 0.5).astype(np.float32)
    result = CarliniWagnerL2(space=space)(model, images, answers(model, images))
    assert np.all(result.success)
    exact = np.array([boxed(model, image, 2) for image in images])
    # The change of variable is slow there: it ends farther away.
    tolerance = 0.02 if space == "clip" else 0.1
    np.testing.assert_allclose(result.distortion, exact, rtol=tolerance)
    moved = np.abs(result.adversarial - images) > 0.01
    assert np.all(moved.sum(axis=(1, 2, 3)) >= 3)


@every_space
@pytest.mark.parametrize("confidence", [0.5, 2.0])
def test_confidence_is_the_margin_reached(confidence, space):
    """And costs the distance of that level set, no more."""
    model, images = binary_model(), random_images(5, 0.45, 0.55)
    labels = answers(model, images)
    attack = CarliniWagnerL2(confidence=confidence, space=space, early_abort=False)
    result = attack(model, images, labels)
    logits = model.logits(result.adversarial)
    rows = np.arange(len(labels))
    margin = logits[rows, 1 - labels] - logits[rows, labels]
    assert np.all(result.success)
    assert np.all(margin >= confidence - 1e-4)
    exact = boundary_distance(model, images, 2, confidence)
    np.testing.assert_allclose(result.distortion, exact, rtol=0.02)


def test_targets_are_reached_at_the_distance_of_their_class():
    """Of three classes the farther is the target, whose boundary is a corner's side."""
    weights = np.zeros((24, 3))
    rng = np.random.default_rng(3)
    weights[:, 1], weights[:, 2] = rng.normal(size=24), rng.normal(size=24)
    model = Affine(weights, [0.0, 0.0, 0.0])
    model.bias = np.array([1.0, 0.0, -0.5]) - 0.5 * weights.sum(axis=0)
    images = np.full((1, *SHAPE), 0.5, np.float32)
    result = CarliniWagnerL2(early_abort=False)(model, images, [0], targets=[2])
    # Minimise |d|^2 where class 2 leads both others: two half-spaces.
    normals = np.stack([weights[:, 2], weights[:, 2] - weights[:, 1]])
    needed = np.array([1.5, 0.5])
    alone = needed[0] / np.linalg.norm(normals[0])
    step = needed[0] * normals[0] / np.sum(normals[0] ** 2)
    if normals[1] @ step < needed[1]:
        gram = normals @ normals.T
        alone = np.sqrt(needed @ np.linalg.solve(gram, needed))
    assert result.success[0]
    assert float(result.distortion[0]) == pytest.approx(alone, rel=0.02)


def uneven_model():
    """The slope of half of the images is a thousandth of that of the others.

    The first pixel, which the attack could not change for a profit, says which: the
    constant that suits one half is a thousand times that of the other.
    """
    inner = binary_model()

    def model(images):
        easy = tf.stop_gradient(images[:, 0, 0, 0] > 0.5)
        return inner(images) * tf.where(easy, 10.0, 0.01)[:, None]

    return inner, model


@every_space
def test_each_image_has_its_own_constant(space):
    """Two of very different difficulty get together what they get alone."""
    inner, model = uneven_model()
    images = random_images(4, 0.4, 0.6)
    images[:, 0, 0, 0] = [0.9, 0.1, 0.9, 0.1]
    labels = answers(inner, images)
    attack = CarliniWagnerL2(space=space, steps=60, search_steps=6)
    together = attack(model, images, labels)
    for i in range(4):
        alone = attack(model, images[i : i + 1], labels[i : i + 1])
        np.testing.assert_allclose(
            together.adversarial[i], alone.adversarial[0], atol=1e-5
        )
    assert np.all(together.success)


@pytest.mark.slow
@every_space
def test_rounding_inside_the_search_survives_rounding_after_it(space):
    """Every pixel ends on an 8-bit level, at most 2 % farther than without."""
    model, images = binary_model(), random_images(6, 0.4, 0.6)
    images = np.round(images * 255) / np.float32(255)
    labels = answers(model, images)
    attack = CarliniWagnerL2(space=space, early_abort=False)
    plain = attack(model, images, labels)
    exact = boundary_distance(model, images, 2)
    far = exact > 0.03  # else a level is too coarse
    assert np.sum(far) >= 4
    assert not np.all(plain.success_rounded)
    result = dataclasses.replace(attack, rounding=True)(model, images, labels)
    levels = result.adversarial.numpy() * 255
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
    assert np.all(result.success) and np.all(result.success_rounded)
    ratio = result.distortion.numpy()[far] / exact[far]
    assert np.all((ratio > 1 - 1e-4) & (ratio < 1.05))


def states(attack, model, images, labels):
    """The state of the search after every step, in NumPy."""
    problem = Problem(
        classifier=model,
        images=tf.constant(images),
        goal=Goal(tf.constant(labels, tf.int32), targeted=False),
        eps=None,
        active=tf.ones([len(images)], tf.bool),
        compact=False,
    )
    space = attack._space(problem)
    state = attack._start(problem, space)
    history = [state]
    while np.any(attack._active(problem, state)):
        state = attack._advance(problem, space, state)
        history.append(state)
    fields = [field for field in state._fields if field != "carry"]
    return [{k: getattr(s, k).numpy() for k in fields} for s in history]


def test_the_constant_falls_after_success_and_rises_after_failure():
    """For each image by itself, into an interval that only shrinks."""
    inner, model = uneven_model()
    images = random_images(2, 0.45, 0.55)
    images[:, 0, 0, 0] = [0.9, 0.1]
    attack = CarliniWagnerL2(
        steps=30, search_steps=6, early_abort=False, initial_const=0.01
    )
    history = states(attack, model, images, answers(inner, images))
    risen, fallen = [0, 0], [0, 0]
    for before, after in zip(history, history[1:], strict=False):
        for row in np.flatnonzero(after["search"] > before["search"]):
            succeeded = after["upper"][row] == before["constant"][row]
            failed = after["lower"][row] == before["constant"][row]
            assert succeeded != failed
            change = after["constant"][row] / before["constant"][row]
            assert change < 1 if succeeded else change > 1
            risen[row] += failed
            fallen[row] += succeeded
        assert np.all(after["upper"] <= before["upper"])
        assert np.all(after["lower"] >= before["lower"])
        assert np.all(after["distance"] <= before["distance"])
    assert fallen[0] >= 3 and risen[1] >= 2 and fallen[1] >= 1
    # A thousand times the slope wants a thousandth of the constant.
    assert history[-1]["constant"][1] > 10 * history[-1]["constant"][0]


@pytest.mark.parametrize("decay", [True, False])
def test_the_rate_falls_within_a_search_unless_told(decay):
    """Each pixel moves by the rate in each step where the slope stays what it is.

    Adam divides a constant gradient by its own size. The constant is so large that the
    distance has no part in it, and the margin asked for is out of reach.
    """
    model, images = binary_model(), random_images(2, 0.4, 0.6)
    attack = CarliniWagnerL2(
        steps=4,
        search_steps=1,
        initial_const=1e6,
        confidence=1e3,
        learning_rate=1e-3,
        decay=decay,
        early_abort=False,
    )
    history = states(attack, model, images, answers(model, images))
    variables = [state["variable"] for state in history[:-1]]
    moved = [
        np.abs(b - a).mean() for a, b in zip(variables, variables[1:], strict=False)
    ]
    half = 0.01 + 0.99 * 0.5
    quarter = 0.01 + 0.99 * (0.5 + math.sqrt(0.5) / 2)
    expected = [1.0, quarter, half] if decay else [1.0, 1.0, 1.0]
    np.testing.assert_allclose(moved, np.multiply(1e-3, expected), rtol=1e-3)


@pytest.mark.slow
def test_an_image_that_stalls_goes_on_to_its_next_search():
    """At its own pace, without waiting for the others."""
    images, labels = conv_images(6)
    attack = CarliniWagnerL2(steps=40, search_steps=3)
    history = states(attack, lambda x: convnet()(x, training=False), images, labels)
    searches = np.array([state["search"] for state in history])
    assert np.all(np.diff(searches, axis=0) >= 0)
    assert any(len(set(row)) > 1 for row in searches)
    patient = dataclasses.replace(attack, early_abort=False)
    longer = states(patient, lambda x: convnet()(x, training=False), images, labels)
    assert len(longer) == 3 * 40 + 1 > len(history)
