"""The ball that training, attacks and evaluation share."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.attacks.common import distances
from tfrobust.attacks import L0, L1, L2, Linf, ThreatModel

NORMS = [0, 1, 2, "inf"]
SHAPE = (2, 2, 3, 1)
# Without numbers so small that a processor may take them for 0.
normal = {"width": 32, "allow_subnormal": False}
inside = hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 1, **normal))
anywhere = hnp.arrays(np.float32, SHAPE, elements=st.floats(-2, 2, **normal))


@pytest.mark.parametrize("norm", NORMS)
@given(images=inside, others=anywhere, eps=st.floats(0, 3))
def test_what_is_projected_is_allowed(norm, images, others, eps):
    """In the box, and in the ball to 1e-6 in float64."""
    threat = ThreatModel(norm, eps)
    projected = threat.project(images, tf.constant(others)).numpy()
    assert projected.min() >= 0 and projected.max() <= 1
    assert np.all(distances(images, projected, norm) <= eps + 1e-6)
    assert np.all(threat.allows(images, projected))


@pytest.mark.parametrize("norm", NORMS)
@given(images=inside, others=inside)
def test_a_radius_above_the_distance_changes_nothing(norm, images, others):
    """What lies inside is returned as it is, but for rounding x + (x' - x)."""
    eps = float(distances(images, others, norm).max()) + 0.01
    projected = ThreatModel(norm, eps).project(images, tf.constant(others))
    np.testing.assert_allclose(projected, others, atol=2e-7)


@pytest.mark.parametrize("norm", NORMS)
@given(images=inside, others=inside, share=st.floats(0.1, 0.99))
def test_allows_is_a_comparison_of_distances(norm, images, others, share):
    """A radius below the distance refuses, one above allows."""
    distance = distances(images, others, norm)
    far = distance > 1e-3
    threat = ThreatModel(norm, 1.0)
    np.testing.assert_allclose(
        threat.distance(images, tf.constant(others)), distance, rtol=1e-5, atol=1e-7
    )
    radius = tf.constant(distance * share, tf.float32)
    assert not np.any(np.array(threat.allows(images, others, radius))[far])
    radius = tf.constant(distance / share, tf.float32)
    assert np.all(threat.allows(images, others, radius))


@pytest.mark.parametrize("norm", NORMS[1:])
@pytest.mark.parametrize("eps", [0.05, 0.5, 5.0])
def test_rounding_of_many_pixels_does_not_leave_the_ball(norm, eps):
    """12288 sums x + delta, each rounded: what is projected is still allowed."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0.2, 0.8, (3, 64, 64, 3)).astype(np.float32)
    # The sizes of a random start and a step: dense, near the ball.
    delta = rng.laplace(size=images.shape) * 1.5
    delta *= eps / distances(0 * delta, delta, norm)[:, None, None, None]
    threat = ThreatModel(norm, eps)
    projected = threat.project(images, tf.constant(images + delta, tf.float32))
    assert np.all(threat.allows(images, projected))
    assert np.all(distances(images, projected, norm) <= eps + 1e-6)
    assert np.all(distances(images, projected, norm) > 0.9 * eps * (norm != "inf"))


@pytest.mark.parametrize("norm", NORMS[1:])
def test_each_image_may_have_its_own_radius(norm):
    """Projected rows end at their own distance."""
    images, others = np.full(SHAPE, 0.5, np.float32), np.full(SHAPE, 0.9, np.float32)
    threat, radii = ThreatModel(norm, 9.0), tf.constant([0.1, 0.2])
    projected = threat.project(images, others, radii)
    np.testing.assert_allclose(distances(images, projected, norm), radii, rtol=1e-5)


def test_images_outside_the_box_are_not_allowed():
    """Whatever the radius; NaN neither."""
    images = np.full((4, 2, 3, 1), 0.5, np.float32)
    others = images.copy()
    others[0, 0, 0], others[1, 1, 1], others[2, 0, 1] = 1.001, -0.001, np.nan
    for eps in (None, 3.0):
        allowed = ThreatModel(2, eps).allows(images, others)
        assert allowed.numpy().tolist() == [False, False, False, True]


def test_without_a_radius_projection_is_clipping():
    """To [0, 1]."""
    images = np.full((1, 1, 3, 1), 0.5, np.float32)
    others = tf.constant([-3.0, 0.25, 3.0], shape=[1, 1, 3, 1])
    projected = ThreatModel(2).project(images, others)
    assert projected.numpy().ravel().tolist() == [0.0, 0.25, 1.0]


@pytest.mark.parametrize(
    ("threat", "name", "constraint"),
    [
        (ThreatModel("inf", 8 / 255), "Linf eps 0.03137", Linf()),
        (ThreatModel(math.inf, 0.5), "Linf eps 0.5", Linf()),
        (ThreatModel(2, 0), "L2 eps 0", L2()),
        (ThreatModel(1), "L1", L1()),
        (ThreatModel(0, 12), "L0 eps 12", L0()),
    ],
)
def test_names(threat, name, constraint):
    """What a table of results calls it."""
    assert str(threat) == name
    assert threat.constraint == constraint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 0.1), '`norm` must be 0, 1, 2 or "inf". Received: norm=3'),
        ((2, -0.1), "`eps` must be finite and at least 0. Received: eps=-0.1"),
        ((2, math.inf), "`eps` must be finite and at least 0. Received: eps=inf"),
        ((2, math.nan), "`eps` must be finite and at least 0. Received: eps=nan"),
    ],
)
def test_wrong_threats_are_named(arguments, message):
    """In one sentence."""
    with pytest.raises(ValueError) as caught:
        ThreatModel(*arguments)
    assert str(caught.value) == message
