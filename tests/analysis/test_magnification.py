"""Bilateral filtering and magnification against four nested loops in float64."""

import math

import hypothesis.extra.numpy
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrobust.analysis import bilateral_filter, magnify, to_display

SHAPE = (7, 5)


def random_images(count, channels, seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return rng.random((count, *shape, channels)).astype(np.float32)


def slow_filter(image, guide, spatial_std, range_std, radius):
    """The definition, pixel by pixel, for one image `[H,W,C]`."""
    image, guide = np.asarray(image, np.float64), np.asarray(guide, np.float64)
    height, width, _ = image.shape
    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            total, weights = 0.0, 0.0
            for v in range(max(0, y - radius), min(height, y + radius + 1)):
                for u in range(max(0, x - radius), min(width, x + radius + 1)):
                    apart = (v - y) ** 2 + (u - x) ** 2
                    change = np.sum((guide[v, u] - guide[y, x]) ** 2)
                    weight = math.exp(-apart / (2 * spatial_std**2))
                    weight *= math.exp(-change / (2 * range_std**2))
                    total = total + weight * image[v, u]
                    weights += weight
            result[y, x] = total / weights
    return result


def slow_magnify(image, beta, spatial_std, range_std, radius):
    image = np.asarray(image, np.float64)
    settings = (spatial_std, range_std, radius)
    detail = image - slow_filter(image, image, *settings)
    local = np.sqrt(slow_filter(detail**2, image, *settings))
    overall = np.array([np.std(image[..., c]) for c in range(image.shape[-1])])
    return detail / (beta * local + (1 - beta) * overall)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("spatial_std", "range_std", "radius"),
    [(1.0, 0.3, 2), (2.0, 0.1, 3), (5.0, 2.0, 9)],
)
def test_is_the_definition(channels, spatial_std, range_std, radius):
    """Windows inside the image and larger than it; one weight for all channels."""
    images = random_images(2, channels)
    found = bilateral_filter(images, spatial_std, range_std, radius=radius)
    for image, row in zip(images, found, strict=True):
        expected = slow_filter(image, image, spatial_std, range_std, radius)
        np.testing.assert_allclose(row, expected, atol=2e-6)


def test_weights_come_from_the_guide():
    """A guide with other channels; and the image as its own guide is the default."""
    images, guide = random_images(2, 1), random_images(2, 3, seed=1)
    found = bilateral_filter(images, 2.0, 0.4, guide, radius=3)
    for image, lead, row in zip(images, guide, found, strict=True):
        expected = slow_filter(image, lead, 2.0, 0.4, 3)
        np.testing.assert_allclose(row, expected, atol=2e-6)
    own = bilateral_filter(images, 2.0, 0.4, images, radius=3)
    plain = bilateral_filter(images, 2.0, 0.4, radius=3)
    np.testing.assert_array_equal(own, plain)
    assert np.abs(own - found).max() > 0.01


def test_without_a_range_it_is_a_gaussian_filter():
    """SciPy's, divided by what it makes of ones: zeros outside weigh nothing."""
    images = random_images(1, 2, shape=(9, 12))
    found = bilateral_filter(images, 1.5, math.inf, radius=5)

    def smooth(plane):
        return scipy.ndimage.gaussian_filter(plane, 1.5, mode="constant", radius=5)

    weights = smooth(np.ones((9, 12)))
    for channel in range(2):
        plane = images[0, :, :, channel].astype(np.float64)
        expected = smooth(plane) / weights
        np.testing.assert_allclose(found[0, :, :, channel], expected, atol=1e-6)


def test_the_window_reaches_three_standard_deviations():
    """Rounded up: 5 pixels at a standard deviation of 1.4, and not 6."""
    line = np.zeros((1, 1, 13, 1), np.float32)
    line[0, 0, 6] = 1.0
    found = np.asarray(bilateral_filter(line, 1.4, math.inf))[0, 0, :, 0]
    assert np.all(found[1:12] > 0) and found[0] == found[12] == 0


def test_edges_stay_sharp():
    """Noise on both sides of a step averages out; the step does not."""
    rng = np.random.default_rng(0)
    step = np.where(np.arange(12) < 6, 0.2, 0.7)[None, None, :, None]
    noisy = step + 0.005 * rng.normal(size=(1, 9, 12, 1))
    found = np.asarray(bilateral_filter(noisy.astype(np.float32), 5.0, 0.05))
    assert np.abs(found - step).max() < 0.003
    blurred = np.asarray(bilateral_filter(noisy.astype(np.float32), 5.0, math.inf))
    assert np.abs(blurred - step).max() > 0.1


@settings(max_examples=20)
@given(
    image=hypothesis.extra.numpy.arrays(
        np.float32, (1, 4, 3, 2), elements=st.floats(0, 1, width=32)
    ),
    spatial_std=st.floats(0.1, 10),
    range_std=st.floats(1e-3, 10),
)
def test_a_mean_lies_between_the_extremes(image, spatial_std, range_std):
    """In each channel: the weights are positive and add up to 1."""
    found = np.asarray(bilateral_filter(image, spatial_std, range_std, radius=3))
    low, high = image.min(axis=(1, 2)), image.max(axis=(1, 2))
    assert np.all(found >= low[:, None, None] - 1e-6)
    assert np.all(found <= high[:, None, None] + 1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("beta", [0.0, 0.8, 1.0])
def test_magnification_is_the_definition(channels, beta):
    """Appendix A with the mean, the guided variance and each channel's own spread."""
    images = random_images(2, channels, seed=3)
    found = magnify(images, beta, 1.5, 0.3, radius=3)
    for image, row in zip(images, found, strict=True):
        expected = slow_magnify(image, beta, 1.5, 0.3, 3)
        np.testing.assert_allclose(row, expected, atol=2e-5)


def test_defaults_are_the_settings_of_the_paper():
    """beta 0.8, 5 pixels and 0.2 (SMO-S11, SMO-R5), in a window of 15 pixels."""
    images = random_images(1, 3, seed=2, shape=(6, 9))
    expected = slow_magnify(images[0], 0.8, 5.0, 0.2, 15)
    np.testing.assert_allclose(magnify(images)[0], expected, atol=2e-5)
    # The range of the paper's text does nothing, SMO-X2: weights above 0.94 all.
    without = slow_magnify(images[0], 0.8, 5.0, math.inf, 15)
    read = slow_magnify(images[0], 0.8, 5.0, 5.0, 15)
    assert np.abs(read - without).max() < 0.05 < np.abs(expected - without).max()


@pytest.mark.parametrize("beta", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("level", [0.0, 0.1, 1.0])
def test_flat_images_are_zero(level, beta):
    """Where there is neither a local nor an overall deviation; flat channels too."""
    flat = np.full((2, *SHAPE, 1), level, np.float32)
    np.testing.assert_array_equal(magnify(flat, beta), np.zeros_like(flat))
    part = np.concatenate([flat, random_images(2, 1)], axis=-1)
    found = np.asarray(magnify(part, beta, range_std=0.5))
    assert np.all(found[..., 0] == 0) and np.all(np.isfinite(found))
    assert np.abs(found[..., 1]).max() > 0.1


def test_small_perturbations_become_visible():
    """Noise of one level beside an edge of 128: invisible before, prominent after."""
    rng = np.random.default_rng(0)
    image = np.where(np.arange(16) < 8, 0.25, 0.75) * np.ones((1, 12, 16, 1))
    noise = rng.choice([-1 / 255, 1 / 255], size=image.shape)
    narrow = 5 / 255
    clean = np.asarray(magnify(image.astype(np.float32), range_std=narrow))
    noisy = (image + noise).astype(np.float32)
    found = np.asarray(magnify(noisy, range_std=narrow))
    assert np.abs(clean).max() < 1e-5  # the bilateral mean leaves the edge alone
    share = np.std(noise) / np.ptp(image)
    assert np.std(found) > 5 * share
    assert np.corrcoef(found.ravel(), noise.ravel())[0, 1] > 0.95


def test_no_image_depends_on_the_batch():
    """Alone or among others, to the last bits."""
    images = random_images(3, 3)
    whole = magnify(images, range_std=0.3)
    for index in range(3):
        alone = magnify(images[index : index + 1], range_std=0.3)
        np.testing.assert_allclose(whole[index], alone[0], atol=1e-6)
    assert magnify(images[:0]).shape == (0, *SHAPE, 3)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_of_unknown_batch_size(jit_compile):
    """As eagerly, for two batch sizes of one graph, by TensorFlow and by XLA."""
    spec = tf.TensorSpec([None, *SHAPE, 3])

    @tf.function(input_signature=[spec], jit_compile=jit_compile)
    def shown(images):
        normalized = magnify(images, range_std=0.3, radius=3)
        assert normalized.shape.as_list() == [None, *SHAPE, 3]
        return to_display(normalized)

    for count in (1, 3):
        images = random_images(count, 3)
        expected = to_display(magnify(images, range_std=0.3, radius=3))
        np.testing.assert_allclose(shown(images), expected, atol=1e-5)


def test_display_is_linear_and_clipped():
    """By hand: mid-grey at 0, black and white at the limits and beyond."""
    values = np.array([-3.0, -1.0, -0.5, 0.0, 0.25, 1.0, 7.0]).reshape(1, 1, 7, 1)
    found = to_display(values, limit=1.0).numpy().ravel().tolist()
    assert found == [0.0, 0.0, 0.25, 0.5, 0.625, 1.0, 1.0]


GOOD = np.full((1, 4, 3, 1), 0.5, np.float32)
NAN = np.where(np.arange(3)[None, None, :, None] == 1, np.nan, GOOD).astype(np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: magnify(GOOD, beta=1.5),
            "`beta` must be in [0, 1]. Received: beta=1.5",
        ),
        (
            lambda: magnify(GOOD, beta=math.nan),
            "`beta` must be in [0, 1]. Received: beta=nan",
        ),
        (
            lambda: magnify(GOOD * 4),
            "`images` must lie in [0, 1], or `bounds` must say where. "
            "Received: values from 2 to 2",
        ),
        (
            lambda: magnify(NAN),
            "`images` must lie in [0, 1], or `bounds` must say where. "
            "Received: values from nan to nan",
        ),
        (
            lambda: bilateral_filter(GOOD, spatial_std=0.0),
            "`spatial_std` must be a finite number above 0. Received: spatial_std=0.0",
        ),
        (
            lambda: bilateral_filter(GOOD, spatial_std=math.inf, radius=3),
            "`spatial_std` must be a finite number above 0. Received: spatial_std=inf",
        ),
        (
            lambda: bilateral_filter(GOOD, range_std=-1.0),
            "`range_std` must be above 0. Received: range_std=-1.0",
        ),
        (
            lambda: bilateral_filter(GOOD, radius=0),
            "`radius` must be an integer of at least 1. Received: radius=0",
        ),
        (
            lambda: bilateral_filter(GOOD[0]),
            "`images` must have shape [B, H, W, C]. Received: shape=(4, 3, 1)",
        ),
        (
            lambda: bilateral_filter(GOOD.astype(np.uint8)),
            "`images` must be floating. Received: dtype=uint8",
        ),
        (
            lambda: bilateral_filter(GOOD, guide=GOOD[:, :2]),
            "`guide` must have the batch, height and width of `images`, (1, 4, 3). "
            "Received: shape=(1, 2, 3, 1)",
        ),
        (
            lambda: bilateral_filter(GOOD, guide=NAN),
            "`guide` must be finite. Received: NaN or infinity",
        ),
        (
            lambda: to_display(GOOD, limit=0.0),
            "`limit` must be a finite number above 0. Received: limit=0.0",
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    """One sentence each."""
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
