"""Distance of the loss from its tangent plane, against closed forms and its bound."""

import numpy as np
import pytest
import tensorflow as tf

from tests.geometry.common import SHAPE, draw, smooth_network
from tfrobust import geometry


@pytest.fixture(scope="module")
def network():
    return smooth_network()


def quadratic(x):
    """Wrong by a margin of 1000: the cross-entropy is the log-odds, a quadratic."""
    odds = 1e3 + 8.0 * tf.reduce_sum(tf.square(x), axis=-1)
    return tf.stack([tf.zeros_like(odds), odds], axis=-1)


def test_a_quadratic_has_its_closed_form():
    """`8 |x|^2` leaves its tangent by `8 r^2`, whatever the direction; at the corner of
    [0, 1] nothing is clipped. The slope is `16 |x|`, the curvature `1 / |x|`.
    """
    images, radii = np.ones((4, 9), np.float32), [0.5, 2.0]
    result = geometry.linearization_error(quadratic, images, [0] * 4, radii)
    expected = np.tile([[8 * 0.25 / 48], [8 * 4.0 / 48]], (1, 4))
    np.testing.assert_allclose(result, expected, rtol=1e-3)
    bound = geometry.linearization_bound(1 / 3, radii)
    np.testing.assert_allclose(expected[:, 0], bound, rtol=1e-12)


def test_one_dimension_has_its_closed_form():
    """In one pixel d is r or -r, and the loss `log(1 + exp(-2 x))`."""
    model = lambda x: tf.concat([x, -x], axis=-1)  # noqa: E731
    points = draw(64, 1)
    result = geometry.linearization_error(model, points, np.zeros(64, int), 0.3)
    x = points[:, 0].astype(np.float64)
    loss = lambda x: np.log1p(np.exp(-2 * x))  # noqa: E731
    slope = -2 / (1 + np.exp(2 * x))
    ways = np.array(
        [np.abs(loss(x + d) - loss(x) - slope * d) / -slope for d in (0.3, -0.3)]
    )
    away = np.abs(result.numpy() - ways)
    assert np.all(away.min(axis=0) < 1e-6)
    assert len(set(away.argmin(axis=0))) == 2


def test_it_stays_below_its_bound_and_grows_with_the_square(network):
    """Of a small network; a random direction sees less than the Hessian's norm."""
    images, labels = draw(6, *SHAPE), np.arange(6) % 3
    radii = [0.05, 0.1]
    result = geometry.linearization_error(network, images, labels, radii, samples=3)
    curvature = geometry.curvature(network, images, labels, 200).curvature
    bound = geometry.linearization_bound(curvature, np.array(radii)[:, None])
    assert result.shape == bound.shape == (2, 6)
    assert np.all(result.numpy() <= bound) and np.all(result.numpy() > bound / 1000)
    ratio = result.numpy()[1] / result.numpy()[0]
    np.testing.assert_allclose(ratio, 4.0, rtol=0.3)


def test_units_are_those_of_the_unit_interval():
    """Of pixels up to 4 a model of x / 4 says the same."""
    images = np.full((2, 3), 0.25, np.float32)
    wide = geometry.linearization_error(
        lambda x: quadratic(x / 4), 4 * images, [0, 0], 0.5, bounds=(0, 4)
    )
    narrow = geometry.linearization_error(quadratic, images, [0, 0], 0.5)
    np.testing.assert_allclose(wide, narrow, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"radii": [-1.0]},
            "`radii` must be positive finite numbers, at least one. "
            "Received: radii=[-1.0]",
        ),
        (
            {"samples": 0},
            "`samples` must be an integer of at least 1. Received: samples=0",
        ),
        (
            {"seed": -1},
            "`seed` must be an integer in [0, 2**31). Received: seed=-1",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    call = {"model": lambda x: x, "images": draw(2, 3), "labels": [0, 1], "radii": 0.1}
    with pytest.raises(ValueError) as error:
        geometry.linearization_error(**{**call, **arguments})
    assert str(error.value) == message
