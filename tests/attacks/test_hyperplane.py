"""Steps to a hyperplane within the box, against linear programs and root finding."""

import math

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attacks.planes import length, linear_program, nearest_step
from tfrobust.attacks.hyperplane import step_to_hyperplane

NORMS = [1, 2, "inf"]
every_norm = pytest.mark.parametrize("norm", NORMS)


def planes(count, size, seed=0, reach=0.8):
    """Points with pixels at the bounds, normals with zeros, and values of both signs.

    The box reaches the planes: the values are no more than `reach` of what it allows.
    """
    rng = np.random.default_rng(seed)
    points = np.clip(rng.uniform(-0.3, 1.3, (count, size)), 0, 1).astype(np.float32)
    normals = rng.normal(size=(count, size)) * rng.choice([0.1, 1.0, 3.0], (count, 1))
    normals[rng.random((count, size)) < 0.15] = 0.0
    normals = normals.astype(np.float32)
    rises = np.where(normals > 0, 1 - points, points)
    falls = np.where(normals > 0, points, 1 - points)
    most, least = np.sum(np.abs(normals) * rises, 1), np.sum(np.abs(normals) * falls, 1)
    share = rng.uniform(0.02, reach, count)
    values = np.where(rng.random(count) < 0.5, share * least, -share * most)
    return points, normals, values.astype(np.float32)


@every_norm
def test_the_steps_against_root_finding_and_linear_programs(norm):
    """Each pixel of it; in L-infinity, which has many, the one that all share."""
    points, normals, values = planes(40, 13)
    steps = step_to_hyperplane(norm, points, normals, values).numpy()
    for row in range(len(points)):
        problem = norm, points[row], normals[row], float(values[row])
        expected = nearest_step(*problem)
        moving = normals[row] != 0
        np.testing.assert_allclose(steps[row], np.where(moving, expected, 0), atol=3e-6)
        if norm != 2:
            shortest = length(norm, linear_program(*problem))
            assert length(norm, steps[row]) == pytest.approx(shortest, abs=3e-6)


def test_l2_steps_against_sequential_quadratic_programming():
    """Another solver, which knows nothing of the form of the optimum."""
    points, normals, values = planes(8, 6, seed=3)
    steps = step_to_hyperplane(2, points, normals, values).numpy()
    for point, normal, value, step in zip(points, normals, values, steps, strict=True):
        point, normal = point.astype(np.float64), normal.astype(np.float64)

        def ahead(x, normal=normal, value=value):
            return value + normal @ x

        result = scipy.optimize.minimize(
            lambda x: x @ x,
            np.zeros(6),
            jac=lambda x: 2 * x,
            bounds=list(zip(-point, 1 - point, strict=True)),
            constraints={"type": "eq", "fun": ahead},
            options={"ftol": 1e-14},
        )
        assert result.success
        np.testing.assert_allclose(step, result.x, atol=1e-5)


@every_norm
@settings(max_examples=60)
@given(data=st.data())
def test_steps_end_on_the_plane_and_in_the_box(norm, data):
    """Of any length; and no pixel moves the wrong way or without a reason."""
    size, seed = data.draw(st.integers(1, 30)), data.draw(st.integers(0, 10_000))
    points, normals, values = planes(
        3, size, seed, data.draw(st.sampled_from([0.1, 1]))
    )
    steps = step_to_hyperplane(norm, points, normals, values).numpy().astype(np.float64)
    moved = points + steps
    assert moved.min() >= -1e-6 and moved.max() <= 1 + 1e-6
    assert np.all(steps * normals * values[:, None] <= 0)
    left = values + np.sum(normals.astype(np.float64) * steps, axis=1)
    scale = np.abs(values) + np.abs(normals).max(axis=1)
    np.testing.assert_allclose(left / np.maximum(scale, 1e-30), 0, atol=3e-6)


@every_norm
def test_a_plane_out_of_reach_gives_the_nearest_corner(norm):
    """Of the pixels that matter; the others stay, and so do all of a flat function."""
    points = np.array([[0.2, 0.7, 0.4]] * 3, np.float32)
    normals = np.array(
        [[1.0, -2.0, 0.0], [1.0, -2.0, 0.0], [0.0, 0.0, 0.0]], np.float32
    )
    steps = step_to_hyperplane(norm, points, normals, tf.constant([9.0, -9.0, 1.0]))
    expected = [[0.0, 1.0, 0.4], [1.0, 0.0, 0.4], [0.2, 0.7, 0.4]]
    np.testing.assert_allclose(points + steps, expected, atol=1e-7)


@every_norm
def test_a_point_on_the_plane_stays(norm):
    """Bit for bit."""
    points, normals, _ = planes(4, 9)
    steps = step_to_hyperplane(norm, points, normals, np.zeros(4, np.float32))
    np.testing.assert_array_equal(steps, 0.0)


@every_norm
@pytest.mark.parametrize("scale", [1e-36, 1e-12, 1e30])
def test_the_length_of_the_normal_does_not_matter(norm, scale):
    """Gradients of confident networks are tiny."""
    points, normals, values = planes(10, 12)
    scale = np.float32(scale)
    expected = step_to_hyperplane(norm, points, normals, values)
    steps = step_to_hyperplane(norm, points, normals * scale, values * scale)
    np.testing.assert_allclose(steps, expected, atol=2e-6)


@every_norm
def test_overflow_and_tiny_entries_give_no_nan(norm):
    """Entries 1e-30 of the largest, and values that no float32 holds when scaled."""
    points = np.full((3, 4), 0.5, np.float32)
    normals = np.array([[1, 1e-30, 0, 1e-20], [1e-30, 0, 0, 0], [1, 1, 1e-36, 0]])
    values = tf.constant([0.75, 1e30, 0.5])
    steps = step_to_hyperplane(norm, points, normals.astype(np.float32), values).numpy()
    assert np.all(np.isfinite(steps)) and np.abs(steps).max() <= 0.5
    # Unreachable, and all that matters moves.
    np.testing.assert_allclose(steps[:2, 0], -0.5)
    assert steps[2, :2].sum() == pytest.approx(-0.5, abs=1e-6)


@every_norm
def test_rows_do_not_depend_on_one_another_and_pixels_have_no_order(norm):
    """Each row alone, and the pixels in another order."""
    points, normals, values = planes(7, 11)
    steps = step_to_hyperplane(norm, points, normals, values).numpy()
    alone = step_to_hyperplane(norm, points[2:3], normals[2:3], values[2:3])
    np.testing.assert_allclose(alone[0], steps[2], atol=1e-7)
    order = np.random.default_rng(1).permutation(11)
    mixed = step_to_hyperplane(norm, points[:, order], normals[:, order], values)
    np.testing.assert_allclose(mixed, steps[:, order], atol=2e-6)
    none = step_to_hyperplane(norm, points[:0], normals[:0], values[:0])
    assert none.shape == (0, 11)


@every_norm
def test_sums_over_an_image_of_imagenet_keep_their_digits(norm):
    """150,528 pixels: what is missing to the plane is a millionth of the way."""
    points, normals, values = planes(2, 150_528)
    steps = step_to_hyperplane(norm, points, normals, values).numpy().astype(np.float64)
    left = values + np.sum(normals.astype(np.float64) * steps, axis=1)
    np.testing.assert_allclose(left / values, 0, atol=3e-5 if norm == 1 else 1e-6)


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_under_xla(norm):
    """The same, compiled for shapes that are known."""
    points, normals, values = (tf.constant(array) for array in planes(5, 12))

    @tf.function(jit_compile=True)
    def compiled(*arguments):
        return step_to_hyperplane(norm, *arguments)

    expected = step_to_hyperplane(norm, points, normals, values)
    np.testing.assert_allclose(compiled(points, normals, values), expected, atol=2e-6)


def test_a_wrong_norm_is_named():
    with pytest.raises(ValueError) as caught:
        step_to_hyperplane(3, tf.zeros([1, 2]), tf.ones([1, 2]), tf.ones([1]))
    assert str(caught.value) == '`norm` must be 1, 2 or "inf". Received: norm=3'
