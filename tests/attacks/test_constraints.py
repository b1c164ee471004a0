"""Norm balls: projections, steps and random starts against float64 oracles."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrobust.attacks import L0, L1, L2, Linf, from_norm

NORMS = [L1(), L2(), Linf()]
SHAPE = (3, 4, 5, 2)


def norms(delta, constraint):
    """Row norms in float64."""
    rows = np.asarray(delta, np.float64).reshape(len(delta), -1)
    order = {L1: 1, L2: 2, Linf: np.inf}[type(constraint)]
    return np.linalg.norm(rows, ord=order, axis=1)


def deltas(bound=2.0):
    """Float32 perturbations of a fixed shape, zeros and tiny values among them.

    No subnormal ones, which TensorFlow takes for zero.
    """
    elements = st.floats(-bound, bound, width=32, allow_subnormal=False)
    return hnp.arrays(np.float32, SHAPE, elements=elements)


@pytest.mark.parametrize("constraint", NORMS)
@settings(max_examples=50)
@given(delta=deltas(), eps=st.floats(0.0, 3.0))
def test_projection_lands_in_the_ball_and_stays(constraint, delta, eps):
    projected = constraint.project(tf.constant(delta), eps).numpy()
    assert np.all(norms(projected, constraint) <= eps + 1e-6)
    again = constraint.project(tf.constant(projected), eps).numpy()
    np.testing.assert_allclose(again, projected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("constraint", NORMS)
def test_projection_leaves_inner_points_alone(constraint):
    delta = np.random.default_rng(0).uniform(-0.01, 0.01, SHAPE).astype(np.float32)
    projected = constraint.project(tf.constant(delta), 1.0)
    np.testing.assert_array_equal(projected, delta)


def test_l2_projection_is_the_nearest_point():
    delta = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    expected = delta * (0.5 / norms(delta, L2()))[:, None, None, None]
    np.testing.assert_allclose(
        L2().project(tf.constant(delta), 0.5), expected, atol=1e-6
    )


@pytest.mark.parametrize("constraint", NORMS)
@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1.0, 1e30])
def test_step_has_norm_one_at_any_scale(constraint, scale):
    gradient = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32) * scale
    step = constraint.normalize(tf.constant(gradient, tf.float32))
    np.testing.assert_allclose(norms(step, constraint), 1.0, rtol=1e-5)


@pytest.mark.parametrize("constraint", NORMS)
def test_step_of_zero_and_of_broken_gradients_is_finite(constraint):
    gradient = np.zeros(SHAPE, np.float32)
    gradient[1, 0, 0, 0] = np.nan
    gradient[2] = np.inf
    gradient[2, 0, 0, 0] = 1.0
    step = constraint.normalize(tf.constant(gradient)).numpy()
    np.testing.assert_array_equal(step[:2], 0.0)
    assert norms(step, constraint)[2] == pytest.approx(1.0)


@pytest.mark.parametrize("constraint", NORMS)
@settings(max_examples=50)
@given(delta=deltas())
def test_distance_is_the_norm(constraint, delta):
    distance = constraint.distance(tf.constant(delta))
    np.testing.assert_allclose(distance, norms(delta, constraint), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_l2_distance_neither_underflows_nor_overflows(scale):
    delta = tf.fill(SHAPE, tf.constant(scale, tf.float32))
    expected = scale * math.sqrt(40)
    np.testing.assert_allclose(L2().distance(delta), expected, rtol=1e-5)


@pytest.mark.parametrize("constraint", NORMS)
def test_random_start_depends_on_the_seed_alone(constraint):
    seeds = tf.constant([[1, 2], [3, 4], [1, 2], [1, 3]], tf.int64)
    together = constraint.random_start([4, 5, 2], seeds, 0.5).numpy()
    alone = constraint.random_start([4, 5, 2], seeds[1:2], 0.5).numpy()
    np.testing.assert_array_equal(together[0], together[2])
    np.testing.assert_array_equal(together[1], alone[0])
    assert np.abs(together[0] - together[1]).max() > 0.01
    assert np.abs(together[0] - together[3]).max() > 0.01


@pytest.mark.parametrize("constraint", NORMS)
def test_random_start_is_uniform_in_the_ball(constraint):
    """In a uniform ball of dimension d, (norm / eps)**d is uniform on [0, 1].

    So the mean of norm / eps is d / (d + 1), and all orthants are alike.
    """
    seeds = tf.stack([tf.range(2000, dtype=tf.int64)] * 2, axis=1)
    delta = tf.function(constraint.random_start)([1, 3, 1], seeds, 0.5).numpy()
    volume = np.sort((norms(delta, constraint) / 0.5) ** 3)
    # Kolmogorov-Smirnov distance; 1.95 / sqrt(n) is the 0.1 % point.
    uniform = np.arange(1, 2001) / 2000
    assert np.abs(volume - uniform).max() < 1.95 / math.sqrt(2000)
    np.testing.assert_allclose(delta.mean(axis=0), 0.0, atol=0.03)
    # Its standard deviation is sqrt(3 / 80) / sqrt(2000) = 0.0043.
    assert norms(delta, constraint).mean() / 0.5 == pytest.approx(0.75, abs=0.018)
    orthants = (delta.reshape(2000, 3) > 0) @ [1, 2, 4]
    np.testing.assert_allclose(np.bincount(orthants) / 2000, 1 / 8, atol=0.03)


@pytest.mark.parametrize("constraint", NORMS)
def test_each_row_may_have_its_own_radius(constraint):
    """In projections and in random starts."""
    delta = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
    eps = np.array([0.25, 0.0, 1e4], np.float32)
    projected = constraint.project(tf.constant(delta), eps[:, None, None, None])
    expected = np.minimum(eps, norms(delta, constraint))
    np.testing.assert_allclose(norms(projected, constraint), expected, rtol=1e-5)
    seeds = tf.constant([[1, 2], [3, 4], [5, 6]], tf.int64)
    started = constraint.random_start([4, 5, 2], seeds, eps[:, None, None, None])
    lengths = norms(started, constraint)
    assert np.all(lengths <= eps * (1 + 1e-6))
    assert np.all(lengths[eps > 0] > 0.5 * eps[eps > 0])


def l1_projection(delta, eps):
    """Nearest point in float64, by bisection on the amount that entries shrink."""
    sizes = np.abs(np.asarray(delta, np.float64))
    if sizes.sum() <= eps:
        return np.asarray(delta, np.float64)
    shrink = scipy.optimize.brentq(
        lambda amount: np.maximum(sizes - amount, 0.0).sum() - eps,
        0.0,
        sizes.max(),
        xtol=1e-15,
    )
    return np.sign(delta) * np.maximum(sizes - shrink, 0.0)


@settings(max_examples=50)
@given(delta=deltas(), eps=st.floats(1e-3, 50.0))
def test_l1_projection_is_the_nearest_point(delta, eps):
    """Against the condition that all entries shrink by the same amount."""
    projected = L1().project(tf.constant(delta), eps)
    for row, actual in zip(delta, projected, strict=True):
        # The ball aimed at is smaller by a millionth, see `_INSIDE`; and what entries
        # shrink by comes from their sum, which is rounded to float32.
        rounding = 4e-7 * np.abs(row).sum()
        np.testing.assert_allclose(
            actual, l1_projection(row, eps), atol=2e-6 + 1e-6 * eps + rounding
        )


def test_l1_projection_of_many_pixels_stays_in_the_ball():
    """Sums of 12288 entries in float32, far from the ball and near to it."""
    rng = np.random.default_rng(4)
    delta = rng.normal(size=(3, 64, 64, 3)).astype(np.float32)
    delta *= np.array([1.0, 1e-2, 1e-3], np.float32)[:, None, None, None]
    for eps in (0.5, 5.0, 12.0):
        projected = L1().project(tf.constant(delta), eps)
        assert np.all(norms(projected, L1()) <= eps + 1e-6)


def test_l1_step_is_the_steepest_on_as_many_entries():
    """Against equal steps on every other choice of three entries out of eight."""
    rng = np.random.default_rng(5)
    gradient = rng.normal(size=(4, 2, 4, 1)).astype(np.float32)
    step = L1(share=0.4).normalize(tf.constant(gradient)).numpy()
    for slope, actual in zip(
        gradient.reshape(4, 8).astype(np.float64), step.reshape(4, 8), strict=True
    ):
        assert np.count_nonzero(actual) == 3
        np.testing.assert_allclose(np.abs(actual[actual != 0]), 1 / 3, rtol=1e-6)
        best = max(
            sum(abs(slope[i]) for i in chosen) / 3
            for chosen in itertools.combinations(range(8), 3)
        )
        assert slope @ actual == pytest.approx(best, rel=1e-6)


def test_l1_step_is_shared_by_a_hundredth_of_the_entries():
    """And by one of them at least."""
    rng = np.random.default_rng(6)
    for shape, count in (((2, 20, 10, 2), 4), ((2, 3, 3, 1), 1)):
        step = L1().normalize(tf.constant(rng.normal(size=shape), tf.float32))
        assert np.all(np.count_nonzero(step, axis=(1, 2, 3)) == count)


@settings(max_examples=50)
@given(delta=deltas(), eps=st.floats(0.0, 45.0))
def test_l0_projection_keeps_the_largest_entries(delta, eps):
    """As many as fit, all that are kept at least as large as all that are not."""
    projected = L0().project(tf.constant(delta), eps).numpy().reshape(3, 40)
    for row, kept in zip(delta.reshape(3, 40), projected, strict=True):
        chosen = kept != 0
        np.testing.assert_array_equal(kept[chosen], row[chosen])
        assert chosen.sum() == min(math.floor(eps), np.count_nonzero(row))
        least = np.abs(row[chosen]).min(initial=np.inf)
        assert np.all(np.abs(row[~chosen]) <= least)


def test_l0_counts_the_smallest_change():
    """One unit in the last place of a float32 image is a change; none is none."""
    images = np.full((3, 2, 2, 1), 0.3, np.float32)
    others = images.copy()
    others[1, 0, 1, 0] = np.nextafter(np.float32(0.3), np.float32(1))
    others[2] = 0.0
    distance = L0().distance(tf.constant(others - images))
    np.testing.assert_array_equal(distance, [0, 1, 4])


def test_l0_step_is_the_entry_of_the_largest_gradient():
    gradient = np.zeros((3, 1, 2, 2), np.float32)
    gradient[0, 0, 1, 0], gradient[0, 0, 0, 0] = -1e-30, 1e-31
    gradient[1, 0, 0, 1], gradient[1, 0, 1, 1] = np.nan, 2.0
    step = L0().normalize(tf.constant(gradient)).numpy().reshape(3, 4)
    np.testing.assert_array_equal(step, [[0, 0, -1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])


def test_l0_random_start_draws_entries_and_values_alike():
    """Every entry as often as any other, its value uniform, the radius each row's."""
    seeds = tf.stack([tf.range(4000, dtype=tf.int64)] * 2, axis=1)
    eps = tf.reshape(tf.constant([2.0, 3.5] * 2000), [-1, 1, 1, 1])
    start = tf.function(L0().random_start)([1, 3, 2], seeds, eps).numpy()
    rows = start.reshape(4000, 6)
    np.testing.assert_array_equal(np.count_nonzero(rows, axis=1), [2, 3] * 2000)
    # A share of 5/12; its standard deviation is 0.0078.
    np.testing.assert_allclose((rows != 0).mean(axis=0), 5 / 12, atol=0.03)
    values = np.sort(rows[rows != 0])
    uniform = np.arange(1, len(values) + 1) / len(values)
    assert np.abs((values + 1) / 2 - uniform).max() < 1.95 / math.sqrt(len(values))


@pytest.mark.parametrize("norm", [np.inf, math.inf, "inf"])
def test_from_norm_knows_the_names_of_infinity(norm):
    assert from_norm(norm) == Linf()


def test_from_norm_knows_the_finite_norms():
    assert from_norm(0) == L0()
    assert from_norm(1) == L1()
    assert from_norm(2.0) == L2()


@pytest.mark.parametrize("norm", [3, 0.5, "l2", None])
def test_from_norm_rejects_the_rest(norm):
    with pytest.raises(ValueError) as error:
        from_norm(norm)
    expected = f'`norm` must be 0, 1, 2 or "inf". Received: norm={norm!r}'
    assert str(error.value) == expected
