"""The projection on an L1 ball and [0, 1] at once, against other ways to find it."""

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.attacks.apgd_by_hand import projected_l1
from tests.attacks.common import distances
from tfrobust.attacks.l1_box import project_l1_box

SHAPE = (2, 3, 2)
PIXELS = hnp.arrays(
    np.float32,
    (2, *SHAPE),
    elements=st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.5, 1.0]),
)
POINTS = hnp.arrays(
    np.float32,
    (2, *SHAPE),
    elements=st.floats(-3, 4, width=32) | st.sampled_from([0.0, 0.5, 1.0]),
)


def flat(images):
    return np.asarray(images, np.float64).reshape(len(images), -1)


@given(images=PIXELS, points=POINTS, eps=st.floats(0, 8, width=32))
def test_is_the_nearest_point_that_bisection_finds(images, points, eps):
    """And lies in the ball, measured in float64, and in the box."""
    nearest = project_l1_box(tf.constant(images), tf.constant(points), eps).numpy()
    assert nearest.min() >= 0.0 and nearest.max() <= 1.0
    assert np.all(distances(images, nearest, 1) <= eps * (1 + 1e-7) + 1e-12)
    rows = zip(flat(images), flat(points), flat(nearest), strict=True)
    for image, point, found in rows:
        expected = image + projected_l1(point - image, image, eps)
        # The ball aimed at is smaller by a millionth.
        np.testing.assert_allclose(found, expected, atol=1e-6 * (1 + eps))


@given(images=PIXELS, points=POINTS, others=PIXELS, eps=st.floats(0.125, 8, width=32))
def test_no_point_of_the_set_is_on_the_outer_side(images, points, others, eps):
    """What characterises a projection on a convex set: `(y - p) . (q - p) <= 0`."""
    nearest = flat(project_l1_box(tf.constant(images), tf.constant(points), eps))
    images, points, others = flat(images), flat(points), flat(others)
    moved = others - images
    length = np.abs(moved).sum(axis=1, keepdims=True)
    inside = images + moved * np.minimum(1.0, eps / np.maximum(length, 1e-30))
    products = np.sum((points - nearest) * (inside - nearest), axis=1)
    assert np.all(products <= 1e-4)


def test_is_what_a_quadratic_programme_finds():
    """SciPy's SLSQP on the perturbation split into its positive and negative part."""
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(3, *SHAPE)).astype(np.float32)
    points = (images + rng.normal(size=images.shape)).astype(np.float32)
    radii = np.array([0.5, 1.5, 3.0], np.float32)
    nearest = flat(project_l1_box(images, points, radii))
    rows = zip(flat(images), flat(points), radii, nearest, strict=True)
    for image, point, eps, found in rows:
        size, delta = len(image), point - image

        def distance(parts, size=size, delta=delta):
            return np.sum((parts[:size] - parts[size:] - delta) ** 2)

        ball = {"type": "ineq", "fun": lambda parts, eps=eps: eps - parts.sum()}
        bounds = [(0, 1 - x) for x in image] + [(0, x) for x in image]
        start = np.zeros(2 * size)
        best = scipy.optimize.minimize(
            distance,
            start,
            bounds=bounds,
            constraints=ball,
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-12},
        )
        assert best.success
        expected = image + best.x[:size] - best.x[size:]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_is_nearer_than_ball_first_and_box_second():
    """A pixel without room leaves its share to the others."""
    image = tf.reshape([0.9, 0.5], [1, 1, 2, 1])
    point = image + tf.reshape([1.0, 0.6], [1, 1, 2, 1])
    both = tf.reshape(project_l1_box(image, point, 0.4) - image, [-1])
    np.testing.assert_allclose(both, [0.1, 0.3], atol=1e-6)


@pytest.mark.parametrize("eps", [0.5, 12.0, 100.0])
def test_many_pixels_lose_no_digits(eps):
    """At the size of a CIFAR image the norm is eps, and what shrank to 0 is unchanged.

    A lambda from float32 sums of thousands would miss both.
    """
    rng = np.random.default_rng(1)
    images = rng.uniform(size=(2, 32, 32, 3)).astype(np.float32)
    points = (images + rng.normal(size=images.shape)).astype(np.float32)
    nearest = project_l1_box(images, points, eps).numpy()
    length = distances(images, nearest, 1)
    assert np.all(length <= eps) and np.all(length >= eps * (1 - 5e-6))
    expected = [
        image + projected_l1(point - image, image, eps)
        for image, point in zip(flat(images), flat(points), strict=True)
    ]
    np.testing.assert_allclose(flat(nearest), expected, atol=1e-5)
    still = np.array(expected) == flat(images)
    assert np.mean(flat(nearest)[still] == flat(images)[still]) > 0.999


def test_a_point_inside_stays():
    images = tf.fill([1, *SHAPE], 0.5)
    points = images + 0.25 * tf.one_hot([[[0, 1], [1, 0], [0, 0]]] * 2, 2)[:, :, 0]
    np.testing.assert_array_equal(project_l1_box(images, points, 5.0), points)


def test_each_row_has_its_own_radius_in_a_graph_of_unknown_shape():
    spec = tf.TensorSpec([None, None, None, None], tf.float32)
    radii = tf.TensorSpec([None], tf.float32)
    graph = tf.function(project_l1_box, input_signature=[spec, spec, radii])
    images = np.full((3, *SHAPE), 0.5, np.float32)
    found = graph(images, images + 0.25, tf.constant([0.0, 1.2, 9.0]))
    np.testing.assert_allclose(
        distances(images, found, 1), [0.0, 1.2, 3.0], rtol=2e-6, atol=0
    )
