"""Change of the gradient over a distance, against closed forms and the theory."""

import numpy as np
import pytest
import tensorflow as tf

from tests.geometry.common import SHAPE, draw, smooth_network
from tfrobust import geometry

RADII = (1e-3, 1e-2, 1e-1)


@pytest.fixture(scope="module")
def network():
    return smooth_network()


def test_one_dimension_has_its_closed_form():
    """In one pixel d is r or -r: the change is one of two known numbers."""
    model = lambda x: tf.concat([x, -x], axis=-1)  # noqa: E731
    points = draw(64, 1)
    result = geometry.gradient_stability(model, points, np.zeros(64, int), [0.1, 0.3])
    slope = lambda x: -2 / (1 + np.exp(2 * x))  # noqa: E731
    x = points[:, 0].astype(np.float64)
    for radius, row in zip((0.1, 0.3), result.numpy(), strict=True):
        up, down = (
            np.abs(slope(x + sign * radius) - slope(x)) / np.abs(slope(x))
            for sign in (1, -1)
        )
        nearest = np.where(np.abs(row - up) < np.abs(row - down), up, down)
        np.testing.assert_allclose(row, nearest, rtol=1e-4)
        share = np.mean(np.abs(row - up) < np.abs(row - down))
        assert 0.25 < share < 0.75  # both directions are drawn


def test_samples_are_averaged():
    """Over many draws in one pixel, the mean of the two known numbers."""
    model = lambda x: tf.concat([x, -x], axis=-1)  # noqa: E731
    result = geometry.gradient_stability(model, [[0.2]], [0], 0.5, samples=400)
    slope = lambda x: -2 / (1 + np.exp(2 * x))  # noqa: E731
    up, down = (abs(slope(0.2 + d) / slope(0.2) - 1) for d in (0.5, -0.5))
    error = abs(up - down) / 2 / 400**0.5
    assert abs(float(result[0, 0]) - (up + down) / 2) < 4 * error


def test_the_theory_bounds_small_changes(network):
    """`r C`, with C from converged Hessian norms; to first order in r."""
    images, labels = draw(6, *SHAPE), np.arange(6) % 3
    result = geometry.gradient_stability(network, images, labels, RADII, samples=3)
    curvature = geometry.curvature(network, images, labels, 200).curvature
    bound = geometry.stability_bound(curvature, RADII)
    assert result.shape == bound.shape == (3, 6)
    assert np.all(result.numpy()[:2] <= bound[:2] * 1.05)
    # And not by miles: a random direction sees a part of the norm.
    assert np.all(result.numpy() > bound / 100)
    # Twice the distance, twice the change, while the loss is a quadratic.
    ratio = result.numpy()[1] / result.numpy()[0]
    np.testing.assert_allclose(ratio, 10.0, rtol=0.1)


def test_radii_are_exact_outside_the_unit_box():
    """An image at the corner of [0, 1]: nothing is clipped, the distance is r."""

    def model(x):
        # Wrong by a margin of 1000: the cross-entropy is the log-odds, a quadratic.
        odds = 1e3 + 0.5 * tf.reduce_sum(tf.square(x), axis=-1)
        return tf.stack([tf.zeros_like(odds), odds], axis=-1)

    images = np.ones((4, 9), np.float32)
    result = geometry.gradient_stability(model, images, [0] * 4, RADII)
    # The gradient is x itself: its change is d, and its norm 3.
    expected = np.tile(np.array(RADII)[:, None] / 3, (1, 4))
    np.testing.assert_allclose(result, expected, rtol=1e-3)


def test_directions_depend_on_the_image_alone(network):
    """Same row in another batch: same change. Another image or seed: another one."""
    images, labels = draw(4, *SHAPE), np.array([0, 1, 2, 0])
    images[3], labels[3] = images[0], labels[0]
    result = geometry.gradient_stability(network, images, labels, 0.1).numpy()
    alone = geometry.gradient_stability(network, images[2:3], labels[2:3], 0.1)
    np.testing.assert_allclose(alone[:, 0], result[:, 2], rtol=1e-4)
    np.testing.assert_allclose(result[:, 3], result[:, 0], rtol=1e-5)
    other = geometry.gradient_stability(network, images, labels, 0.1, seed=1)
    assert np.all(np.abs(other - result) > 1e-3 * result)


def test_images_that_differ_in_one_bit_get_other_directions():
    """A one-pixel step along a linear log-odds: +r or -r, by the hash of the image."""
    model = lambda x: tf.concat([x, -x], axis=-1)  # noqa: E731
    start = np.float32(0.5)
    points = start + np.arange(64, dtype=np.float32)[:, None] * np.float32(2**-23)
    result = geometry.gradient_stability(model, points, [0] * 64, 0.5).numpy()[0]
    assert 16 <= np.sum(result > result.mean()) <= 48


def test_works_in_a_graph(network):
    images, labels = draw(3, *SHAPE), np.array([0, 1, 2])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *SHAPE]),
            tf.TensorSpec([None], tf.int64),
        ]
    )
    def run(images, labels):
        return geometry.gradient_stability(network, images, labels, RADII, samples=2)

    expected = geometry.gradient_stability(network, images, labels, RADII, samples=2)
    np.testing.assert_allclose(run(images, labels), expected, rtol=1e-3)


def test_no_images(network):
    result = geometry.gradient_stability(
        network, draw(0, *SHAPE), np.zeros(0, int), 0.1
    )
    assert result.shape[1] == 0


def test_bound_is_radius_times_curvature():
    result = geometry.stability_bound(tf.constant([1.0, 3.0]), [0.5, 2.0])
    np.testing.assert_array_equal(result, [[0.5, 1.5], [2.0, 6.0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"radii": [0.1, 0.0]},
            "`radii` must be positive finite numbers, at least one. "
            "Received: radii=[0.1, 0.0]",
        ),
        (
            {"radii": []},
            "`radii` must be positive finite numbers, at least one. Received: radii=[]",
        ),
        (
            {"samples": 0},
            "`samples` must be an integer of at least 1. Received: samples=0",
        ),
        (
            {"seed": 2**31},
            "`seed` must be an integer in [0, 2**31). Received: seed=2147483648",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    call = {"model": lambda x: x, "images": draw(2, 3), "labels": [0, 1], "radii": 0.1}
    with pytest.raises(ValueError) as error:
        geometry.gradient_stability(**{**call, **arguments})
    assert str(error.value) == message
