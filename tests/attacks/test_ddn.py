"""Decoupled direction and norm on models whose nearest boundary is known."""

import numpy as np
import pytest

from tests.attacks.common import conv_images, convnet, distances
from tests.attacks.minimal import (
    answers,
    binary_model,
    boundary_distance,
    boxed,
    random_images,
)
from tfrobust.attacks import DDN


@pytest.mark.parametrize("norm", [2, "inf"])
def test_finds_the_boundary_of_a_linear_model(norm):
    """Within 2 % of `|f_0 - f_1| / ||w||`, in the dual norm; never below it."""
    model, images = binary_model(), random_images(8, 0.4, 0.6)
    exact = boundary_distance(model, images, norm)
    assert exact.max() > 2 * exact.min()
    result = DDN(norm=norm)(model, images, answers(model, images))
    assert np.all(result.success)
    assert np.all(result.distortion >= exact * (1 - 1e-4))
    np.testing.assert_allclose(result.distortion, exact, rtol=0.02)


@pytest.mark.parametrize("norm", [2, "inf"])
def test_finds_the_boundary_where_the_box_is_in_the_way(norm):
    """Most pixels start at 0 or 1; the optimum is found by bisection."""
    model, images = binary_model(offset=3.0), random_images(6, -1.5, 2.5)
    exact = np.array([boxed(model, image, norm) for image in images])
    free = boundary_distance(model, images, norm)
    assert np.mean(exact > 1.05 * free) > 0.5
    result = DDN(norm=norm, steps=200)(model, images, answers(model, images))
    assert np.all(result.success)
    assert np.all(result.distortion >= exact * (1 - 1e-4))
    np.testing.assert_allclose(result.distortion, exact, rtol=0.03)


@pytest.mark.parametrize("norm", [2, "inf"])
def test_more_steps_end_nearer_to_the_boundary(norm):
    images, labels = conv_images(6)
    few, many = (
        DDN(norm=norm, steps=steps)(convnet(), images, labels) for steps in (10, 100)
    )
    assert np.all(many.success)
    assert np.mean(many.distortion) < np.mean(few.distortion)


@pytest.mark.parametrize("norm", [2, "inf"])
def test_rounding_in_the_loop_keeps_every_success(norm):
    """Saved as 8 bits, all that fooled the network still do; without, few do."""
    images, labels = conv_images(24)
    images = np.rint(images * 255).astype(np.float32) / np.float32(255)
    labels = np.argmax(convnet()(images, training=False), axis=-1)
    rounded = DDN(norm=norm, steps=60, rounding=True)(convnet(), images, labels)
    plain = DDN(norm=norm, steps=60)(convnet(), images, labels)
    assert np.all(rounded.success) and np.all(plain.success)
    np.testing.assert_array_equal(rounded.success_rounded, rounded.success)
    levels = rounded.adversarial.numpy().astype(np.float64) * 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    np.testing.assert_array_equal(rounded.distortion, rounded.distortion_rounded)
    assert np.mean(plain.success_rounded) < 0.9
    cost = np.mean(rounded.distortion) / np.mean(plain.distortion)
    # One level is 0.004, a twentieth of the largest change of a pixel here.
    assert cost < (1.02 if norm == 2 else 1.1)


def test_pixels_at_the_bounds_move_inwards_alone():
    """A black and white image is attacked in the pixels that can move."""
    model = binary_model(offset=3.0)
    images = (random_images(5, 0, 1) > 0.5).astype(np.float32)
    result = DDN()(model, images, answers(model, images))
    assert np.all(result.success)
    exact = [boxed(model, image, 2) for image in images]
    np.testing.assert_allclose(result.distortion, exact, rtol=0.03)


def test_reported_distance_is_that_of_the_image():
    """In float64."""
    images, labels = conv_images(4)
    result = DDN(norm="inf")(convnet(), images, labels)
    np.testing.assert_allclose(
        result.distortion, distances(images, result.adversarial, "inf"), rtol=1e-5
    )


@pytest.mark.parametrize("init_eps", [0.01, 10.0])
def test_a_bad_first_norm_is_made_good(init_eps):
    """A hundred times too small or ten times too large."""
    model, images = binary_model(), random_images(4, 0.4, 0.6)
    exact = boundary_distance(model, images, 2)
    result = DDN(init_eps=init_eps, steps=200)(model, images, answers(model, images))
    assert np.all(result.success)
    np.testing.assert_allclose(result.distortion, exact, rtol=0.05)
