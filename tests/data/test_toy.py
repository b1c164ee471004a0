"""Two moons and lines: where points lie, their noise, and that a seed fixes them."""

import numpy as np
import pytest

from tfrobust import data


def in_the_plane(points):
    """Points of the unit square where moons have radius 1."""
    return (points.astype(np.float64) - 0.5) * 4 + [0.5, 0.25]


def signed_distances(points, labels):
    """Distance of each point from its moon's circle, outward positive."""
    centers = np.where(labels[:, None] == 0, [0.0, 0.0], [1.0, 0.5])
    return np.linalg.norm(in_the_plane(points) - centers, axis=1) - 1


def test_without_noise_points_lie_on_their_half_circles():
    """The upper half of one unit circle, the lower half of the other, end to end."""
    points, labels = data.make_two_moons(1000, noise=0.0)
    np.testing.assert_allclose(signed_distances(points, labels), 0, atol=1e-6)
    plane = in_the_plane(points)
    upper, lower = plane[labels == 0], plane[labels == 1]
    assert upper[:, 1].min() >= -1e-6 and lower[:, 1].max() <= 0.5 + 1e-6
    np.testing.assert_allclose(
        [upper[:, 0].min(), upper[:, 0].max()], [-1, 1], atol=1e-3
    )
    np.testing.assert_allclose(
        [lower[:, 0].min(), lower[:, 0].max()], [0, 2], atol=1e-3
    )


def test_angles_are_uniform():
    """A point's angle on its moon is uniform: its mean and spread are known."""
    points, labels = data.make_two_moons(4000, noise=0.0, seed=3)
    plane = in_the_plane(points)
    plane = np.where(labels[:, None] == 0, plane, [1.0, 0.5] - plane)
    angles = np.arctan2(plane[:, 1], plane[:, 0])
    error = np.pi / np.sqrt(12 * 4000)
    assert abs(angles.mean() - np.pi / 2) < 4 * error
    assert angles.std() == pytest.approx(np.pi / np.sqrt(12), rel=0.03)


def test_noise_has_the_standard_deviation_asked_for():
    """Small noise across the curve is normal noise of that size."""
    points, labels = data.make_two_moons(4000, noise=0.05)
    distances = signed_distances(points, labels)
    assert distances.std() == pytest.approx(0.05, rel=0.05)
    assert abs(distances.mean()) < 0.005


def test_types_balance_and_range():
    """float32 points in the unit square, whatever the noise; classes differ by one."""
    points, labels = data.make_two_moons(101, noise=5.0)
    assert points.shape == (101, 2) and points.dtype == np.float32
    assert labels.shape == (101,) and labels.dtype == np.int32
    assert np.bincount(labels).tolist() == [51, 50]
    assert points.min() == 0 and points.max() == 1  # noise this large is clipped
    assert np.diff(labels).any() and (labels[:50] == 0).any()  # in random order


def test_a_seed_fixes_the_points():
    """The same arguments give the same bits, another seed other points."""
    first, again = data.make_two_moons(50, seed=1), data.make_two_moons(50, seed=1)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], data.make_two_moons(50, seed=2)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 0}, "`examples` must be at least 1"),
        ({"examples": 9, "noise": -0.1}, "`noise` must be a finite number"),
        ({"examples": 9, "noise": float("nan")}, "`noise` must be a finite number"),
        ({"examples": 9, "seed": -1}, "`seed` must not be negative"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    """One sentence that says what was received."""
    with pytest.raises(ValueError, match=f"{message}.*Received"):
        data.make_two_moons(**arguments)


CENTERS = {0: [-50, -10, 30], 1: [-30, 10, 50]}


def lines_in_the_plane(points):
    """Points of the unit square in the units of the paper."""
    return (points.astype(np.float64) - 0.5) * 300


def test_lines_have_their_six_modes():
    """Every point is on x2 = 2 x1 within 6 of a centre of its class, N of them each."""
    points, labels = data.make_lines(200, seed=1)
    plane = lines_in_the_plane(points)
    np.testing.assert_allclose(plane[:, 1], 2 * plane[:, 0], atol=1e-4)
    for label, centers in CENTERS.items():
        first = plane[labels == label, 0]
        assert len(first) == 600
        near = np.abs(first[:, None] - centers) < 6
        assert near.sum(axis=0).tolist() == [200, 200, 200]


def test_modes_are_normal_of_deviation_one():
    """Mean, deviation and fourth moment of a mode, within five standard errors."""
    points, labels = data.make_lines(20_000, seed=2)
    first = lines_in_the_plane(points)[:, 0]
    centers = np.array([CENTERS[label] for label in labels])
    deviations = (
        first
        - centers[
            np.arange(len(first)), np.abs(first[:, None] - centers).argmin(axis=1)
        ]
    )
    count = len(deviations)
    assert abs(deviations.mean()) < 5 / np.sqrt(count)
    assert abs(np.mean(deviations**2) - 1) < 5 * np.sqrt(2 / count)
    assert abs(np.mean(deviations**4) - 3) < 5 * np.sqrt(96 / count)


def test_nothing_near_a_line_is_outside_of_the_unit_square():
    """15 units in any direction stay inside, so that an attack is never clipped."""
    points, labels = data.make_lines(5000)
    assert data.LINES_SIDE == 300
    assert points.dtype == np.float32 and labels.dtype == np.int32
    reach = 15 / data.LINES_SIDE
    assert points.min() - reach > 0 and points.max() + reach < 1


def test_a_seed_fixes_the_lines():
    """The same arguments give the same bits in random order, another seed others."""
    first, again = data.make_lines(20, seed=1), data.make_lines(20, seed=1)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], data.make_lines(20, seed=2)[0])
    assert 20 < np.abs(np.diff(first[1])).sum() < 100  # 1 or 5 if sorted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples_per_mode": 0}, "`examples_per_mode` must be at least 1"),
        ({"seed": -1}, "`seed` must not be negative"),
    ],
)
def test_bad_arguments_of_lines_are_named(arguments, message):
    """One sentence that says what was received."""
    with pytest.raises(ValueError, match=f"{message}.*Received"):
        data.make_lines(**arguments)
