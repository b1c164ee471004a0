"""Filters against NumPy's transform and loops over its frequencies."""

import math

import hypothesis.extra.numpy
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.common import SCALES, SHAPES, TOP, images, slow_filter
from tfrobust.analysis import (
    band_pass,
    filters,
    frequency_radius,
    high_frequency_share,
    high_pass,
    low_pass,
    swap_high,
)


@pytest.mark.parametrize("size", [(4, 4), (5, 5), (4, 7), (1, 3), (32, 32)])
def test_radius_is_that_of_the_centered_spectrum(size):
    """Against `fftfreq`, which is in units of the whole axis."""
    down, across = (np.fft.fftshift(np.fft.fftfreq(n)) for n in size)
    expected = np.hypot(2 * down[:, None], 2 * across[None, :])
    found = frequency_radius(*size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert found[size[0] // 2, size[1] // 2] == 0.0 and found.max() <= np.float32(TOP)


def test_radii_are_rounded_once():
    """To the float32 nearest to the number on paper, as a caller's threshold is."""
    for size in range(2, 41):
        waves = np.abs(np.arange(size) - size // 2)
        squares = waves[:, None] ** 2 + waves[None, :] ** 2
        expected = np.float32(2 * np.sqrt(squares) / size)
        np.testing.assert_array_equal(frequency_radius(size, size), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_filters_keep_what_the_loops_keep(shape):
    """Low, high and the band between, also at thresholds that are radii."""
    shown = images(shape=shape)
    for scale in SCALES:
        limit = round(scale, 9)
        low = slow_filter(shown, lambda radius, limit=limit: radius <= limit)
        np.testing.assert_allclose(low_pass(shown, scale), low, atol=1e-6)
        np.testing.assert_allclose(high_pass(shown, scale), shown - low, atol=1e-6)
    band = slow_filter(shown, lambda radius: 0.4 < radius <= 1.0)
    np.testing.assert_allclose(band_pass(shown, 0.4, 1.0), band, atol=1e-6)


@pytest.mark.parametrize("size", [10, 20, 26])
def test_a_radius_that_equals_the_threshold_is_kept(size):
    """3-4-5 and 5-12-13 triangles, multiples of a tenth: rounding does not decide."""
    radii = np.unique(np.round(frequency_radius(size, size).astype(np.float64), 6))
    for place in [(3, 4), (4, 3), (5, 0), (0, 3), (5, 12), (1, 1)]:
        if max(place) > size / 2:
            continue
        squared = place[0] ** 2 + place[1] ** 2
        scale = math.sqrt(squared) / (size / 2)
        rows, columns = np.mgrid[:size, :size]
        wave = np.cos(2 * np.pi * (place[0] * rows + place[1] * columns) / size)
        wave = np.float32(wave)[None, ..., None]
        np.testing.assert_allclose(low_pass(wave, scale), wave, atol=2e-6)
        # Half way to the next radii on both sides.
        here = np.searchsorted(radii, round(scale, 6))
        below = 0.5 * (radii[here - 1] + radii[here])
        np.testing.assert_allclose(high_pass(wave, below), wave, atol=2e-6)
        np.testing.assert_allclose(high_pass(wave, scale), 0.0, atol=2e-6)


@settings(max_examples=25)
@given(
    shown=hypothesis.extra.numpy.arrays(
        np.float32,
        st.tuples(
            st.integers(1, 2), st.integers(2, 5), st.integers(2, 5), st.integers(1, 2)
        ),
        elements=st.floats(-1, 1, width=32),
    ),
    scales=st.tuples(st.floats(0, TOP), st.floats(0, TOP)).map(sorted),
)
def test_filters_are_projections_that_share_nothing(shown, scales):
    """They add up, are idempotent, annihilate each other, and split the energy."""
    low, high = scales
    parts = (
        low_pass(shown, low).numpy(),
        band_pass(shown, low, high).numpy(),
        high_pass(shown, high).numpy(),
    )
    np.testing.assert_allclose(sum(parts), shown, atol=2e-6)
    np.testing.assert_allclose(low_pass(parts[0], low), parts[0], atol=2e-6)
    np.testing.assert_allclose(band_pass(parts[1], low, high), parts[1], atol=2e-6)
    np.testing.assert_allclose(high_pass(parts[2], high), parts[2], atol=2e-6)
    np.testing.assert_allclose(low_pass(parts[2], high), 0.0, atol=2e-6)
    np.testing.assert_allclose(high_pass(parts[0], low), 0.0, atol=2e-6)
    energy = [np.sum(np.square(part, dtype=np.float64)) for part in (*parts, shown)]
    np.testing.assert_allclose(sum(energy[:3]), energy[3], atol=2e-5)


def test_ends_of_the_scale():
    """0 keeps the mean, sqrt(2) everything; constants pass at any scale."""
    shown = images()
    kept = np.broadcast_to(shown.mean(axis=(1, 2), keepdims=True), shown.shape)
    np.testing.assert_allclose(low_pass(shown, 0), kept, atol=1e-6)
    np.testing.assert_allclose(low_pass(shown, TOP), shown, atol=1e-6)
    assert not np.any(high_pass(shown, TOP)) and not np.any(band_pass(shown, 0.5, 0.5))
    for scale in SCALES:
        np.testing.assert_allclose(
            low_pass(np.full((1, 5, 6, 1), 0.3, np.float32), scale), 0.3, atol=1e-6
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_swapped_images_have_two_spectra(shape):
    """Against NumPy's spectra put together; equal images are left bit for bit."""
    shown, others = images(shape=shape), images(shape=shape, seed=1)
    for scale in SCALES:
        limit = round(scale, 9)
        expected = slow_filter(shown, lambda radius, limit=limit: radius <= limit)
        expected += slow_filter(others, lambda radius, limit=limit: radius > limit)
        np.testing.assert_allclose(swap_high(shown, others, scale), expected, atol=1e-6)
        np.testing.assert_array_equal(swap_high(shown, shown, scale), shown)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_filtered(shape):
    """A filter is its own adjoint, also when a gradient is differentiated again."""
    shown, weights = tf.constant(images(shape=shape)), images(shape=shape, seed=1)
    with tf.GradientTape() as outer:
        outer.watch(shown)
        with tf.GradientTape() as tape:
            tape.watch(shown)
            value = tf.reduce_sum(weights * low_pass(shown, 2 / 3) ** 2)
        gradient = tape.gradient(value, shown)
        total = tf.reduce_sum(gradient)
    low = low_pass(shown, 2 / 3)
    expected = low_pass(2.0 * weights * low, 2 / 3)
    np.testing.assert_allclose(gradient, expected, atol=2e-6)
    # The sum of a filtered image is that of the image: its gradient is 2 P(weights).
    second = 2.0 * low_pass(weights, 2 / 3)
    np.testing.assert_allclose(outer.gradient(total, shown), second, atol=4e-6)


def test_one_graph_for_all_batches_and_scales():
    """Nothing is traced again, and a caller's graph may have an unknown batch size."""
    low_pass(images(), 0.5)
    before = filters._band_of.experimental_get_tracing_count()
    for count, shape in ((1, (6, 5, 2)), (4, (3, 8, 1))):
        for scale in SCALES:
            low_pass(images(count, shape), scale)
    assert filters._band_of.experimental_get_tracing_count() == before == 1

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 5, 2]), tf.TensorSpec([])])
    def graph(batch, scale):
        found = high_pass(batch, scale)
        assert found.shape.as_list() == [None, 6, 5, 2]
        return found

    for count in (1, 3):
        shown = images(count)
        np.testing.assert_array_equal(graph(shown, 0.7), high_pass(shown, 0.7))


@pytest.mark.parametrize("shape", SHAPES)
def test_share_of_energy_is_parsevals(shape):
    """Squares of NumPy's spectrum; the factor of a perturbation does not matter."""
    changes = images(shape=shape) - 0.3
    power = np.abs(np.fft.fft2(np.float64(changes), axes=(1, 2))) ** 2
    radius = np.fft.ifftshift(frequency_radius(*shape[:2]))[..., None]
    for scale in (0.0, 0.5, 2 / 3, 1.0):
        above = np.where(radius > np.float32(scale), power, 0.0)
        expected = above.sum(axis=(1, 2, 3)) / power.sum(axis=(1, 2, 3))
        found = high_frequency_share(changes, scale)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        tiny = high_frequency_share(1e-30 * changes, scale)
        np.testing.assert_allclose(tiny, expected, atol=1e-5)
    assert not np.any(high_frequency_share(changes, TOP))


def test_share_of_white_noise_is_that_of_the_frequencies():
    """Within five standard errors of the mean over many draws."""
    noise = np.random.default_rng(0).normal(size=(400, 6, 7, 1)).astype(np.float32)
    found = high_frequency_share(noise, 0.6).numpy().astype(np.float64)
    error = found.std() / math.sqrt(len(found))
    assert abs(found.mean() - (frequency_radius(6, 7) > 0.6).mean()) < 5 * error


def test_no_perturbation_has_no_share():
    """NaN, with a gradient of 0; its neighbours in the batch are left alone."""
    changes = images(2) - 0.5
    batch = tf.constant(np.concatenate([np.zeros_like(changes[:1]), changes]))
    with tf.GradientTape() as tape:
        tape.watch(batch)
        shares = high_frequency_share(batch, 0.5)
    assert np.isnan(shares).tolist() == [True, False, False]
    np.testing.assert_allclose(shares[1:], high_frequency_share(changes, 0.5))
    slope = tape.gradient(shares, batch)
    assert not np.any(slope[0]) and np.isfinite(slope).all()
    direction = np.float32(np.random.default_rng(2).normal(size=batch.shape))
    ends = (high_frequency_share(batch + h * direction, 0.5) for h in (1e-2, -1e-2))
    numeric = np.subtract(*(end.numpy() for end in ends)) / 2e-2
    found = np.sum(slope * direction, axis=(1, 2, 3))
    np.testing.assert_allclose(found[1:], numeric[1:], rtol=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: low_pass(images(shape=(1, 5, 2)), 0.5),
            "`images` must be at least 2 pixels high and wide to have frequencies to "
            "tell apart. Received: shape=(3, 1, 5, 2)",
        ),
        (
            lambda: high_frequency_share(images(shape=(4, 1, 2)), 0.5),
            "`perturbations` must be at least 2 pixels high and wide to have "
            "frequencies to tell apart. Received: shape=(3, 4, 1, 2)",
        ),
        (
            lambda: low_pass(images(), 1.5),
            "`scale` must lie in [0, sqrt(2)]. Received: scale=1.5",
        ),
        (
            lambda: high_pass(images(), tf.constant(-0.1)),
            "`scale` must lie in [0, sqrt(2)]. Received: scale=-0.1",
        ),
        (
            lambda: high_pass(images(), math.nan),
            "`scale` must lie in [0, sqrt(2)]. Received: scale=nan",
        ),
        (
            lambda: low_pass(images(), [0.5]),
            "`scale` must be a number in [0, sqrt(2)]. Received: scale=[0.5]",
        ),
        (
            lambda: low_pass(images(), "wide"),
            "`scale` must be a number in [0, sqrt(2)]. Received: scale='wide'",
        ),
        (
            lambda: band_pass(images(), 0.5, 0.25),
            "`high` must be at least `low`, 0.5. Received: high=0.25",
        ),
        (
            lambda: swap_high(images(), images(2), 0.5),
            "`others` must have the shape of `images`, (3, 6, 5, 2). "
            "Received: shape=(2, 6, 5, 2)",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
