"""Local consistency against loops over pairs of pixels, and closed forms."""

import math

import hypothesis.extra.numpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrobust.analysis import (
    PerturbationStatistics,
    perturbation_statistics,
    share_at_bound,
    sign_agreement,
    total_variation_ratio,
)


def pairs(image):
    """Every pair of neighbours in one channel of `[H,W,C]`, once."""
    height, width, channels = image.shape
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                if row + 1 < height:
                    yield image[row, column, channel], image[row + 1, column, channel]
                if column + 1 < width:
                    yield image[row, column, channel], image[row, column + 1, channel]


def slow_agreement(image):
    signed = [(a, b) for a, b in pairs(image) if a != 0 and b != 0]
    agree = sum((a > 0) == (b > 0) for a, b in signed)
    return agree / len(signed) if signed else math.nan


def slow_variation(image):
    image = np.asarray(image, np.float64)
    norm = np.abs(image).sum()
    return sum(abs(a - b) for a, b in pairs(image)) / norm if norm else math.nan


def checkerboard(height, width, channels=1):
    rows, columns = np.mgrid[:height, :width]
    board = np.where((rows + columns) % 2, -1.0, 1.0)[None, ..., None]
    return np.repeat(board, channels, axis=-1).astype(np.float32)


@settings(max_examples=30)
@given(
    hypothesis.extra.numpy.arrays(
        np.float32,
        st.tuples(
            st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 2)
        ),
        # Zeros often, and nothing that float32 would round to zero.
        elements=st.integers(-4, 4).map(lambda level: level / 255),
    )
)
def test_are_the_definitions(changes):
    """Within bounds, and blind to sign, size, mirrors and the order of channels."""
    agreement = sign_agreement(changes).numpy()
    variation = total_variation_ratio(changes).numpy()
    np.testing.assert_allclose(
        agreement, [slow_agreement(image) for image in changes], rtol=1e-6
    )
    np.testing.assert_allclose(
        variation, [slow_variation(image) for image in changes], rtol=1e-5
    )
    np.testing.assert_array_equal(np.isnan(variation), ~changes.any(axis=(1, 2, 3)))
    known = ~np.isnan(variation)
    assert ((variation[known] >= 0) & (variation[known] <= 4 + 1e-5)).all()
    for other in (-2 * changes, changes[:, ::-1], changes[:, :, ::-1, ::-1]):
        np.testing.assert_allclose(sign_agreement(other), agreement, rtol=1e-6)
        np.testing.assert_allclose(total_variation_ratio(other), variation, rtol=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (3, 6)])
def test_closed_forms(size):
    """A constant, a checkerboard, and one pixel alone."""
    flat = np.full((1, *size, 2), -0.1, np.float32)
    board = 0.1 * checkerboard(*size, 2)
    dot = np.zeros_like(flat)
    dot[0, 1, 1, 0] = 1.0
    assert float(sign_agreement(flat)[0]) == 1.0
    assert float(total_variation_ratio(flat)[0]) == 0.0
    assert float(sign_agreement(board)[0]) == 0.0
    expected = 4 - 2 / size[0] - 2 / size[1]
    np.testing.assert_allclose(total_variation_ratio(board), [expected], rtol=1e-6)
    assert np.isnan(sign_agreement(dot)[0])
    assert float(total_variation_ratio(dot)[0]) == 4.0


def test_independent_signs_agree_half_the_time():
    """And vary half as much as a checkerboard; within five standard errors."""
    signs = np.random.default_rng(0).choice([-0.1, 0.1], (500, 5, 6, 2))
    signs = signs.astype(np.float32)
    half = 0.5 * float(total_variation_ratio(checkerboard(5, 6))[0])
    for found, expected in (
        (sign_agreement(signs), 0.5),
        (total_variation_ratio(signs), half),
    ):
        values = found.numpy().astype(np.float64)
        error = values.std() / math.sqrt(len(values))
        assert abs(values.mean() - expected) < 5 * error


def test_channels_are_not_neighbors():
    """A constant in each of two channels that differ in sign agrees throughout."""
    changes = np.stack([np.ones((1, 3, 3)), -np.ones((1, 3, 3))], axis=-1)
    changes = changes.astype(np.float32)
    assert float(sign_agreement(changes)[0]) == 1.0
    assert float(total_variation_ratio(changes)[0]) == 0.0


def test_share_at_the_bound_survives_float32():
    """Of images moved by eps and back; clipped pixels do not count, zeros neither."""
    eps, rng = 8 / 255, np.random.default_rng(0)
    shown = rng.uniform(0.1, 0.9, (4, 5, 6, 3)).astype(np.float32)
    signs = rng.choice([-1, 1], shown.shape).astype(np.float32)
    moved = (shown + np.float32(eps) * signs) - shown
    assert share_at_bound(moved, eps).numpy().tolist() == [1.0] * 4
    moved[0, 0] = 0.0
    moved[1, :, 0] *= 0.5
    found = share_at_bound(moved, eps).numpy()
    np.testing.assert_allclose(found, [4 / 5, 5 / 6, 1, 1], rtol=1e-6)
    found = share_at_bound(moved, eps, tolerance=0.6 * eps).numpy()
    np.testing.assert_allclose(found, [4 / 5, 1, 1, 1], rtol=1e-6)
    assert float(share_at_bound(0 * moved, eps)[0]) == 0.0


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_statistics_hold_each_number(batch_size):
    """The same however many are taken at a time, NaN included."""
    changes = np.random.default_rng(1).normal(0, 0.1, (5, 4, 3, 2))
    changes = np.clip(changes, -0.1, 0.1).astype(np.float32)
    changes[3] = 0.0
    found = perturbation_statistics(changes, eps=0.1, batch_size=batch_size)
    for name, values in {
        "sign_agreement": sign_agreement(changes),
        "total_variation_ratio": total_variation_ratio(changes),
        "share_at_bound": share_at_bound(changes, 0.1),
    }.items():
        assert getattr(found, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(found, name), values)


def test_means_are_over_what_was_chosen_and_perturbed():
    """Image 2 was not perturbed, image 3 has no pair with two signs."""
    found = PerturbationStatistics(
        np.float32([1.0, 0.5, math.nan, math.nan]),
        np.float32([0.0, 2.0, math.nan, 4.0]),
        np.float32([1.0, 0.0, 0.0, 0.5]),
    )
    every = found.means()
    assert every.images == 3
    np.testing.assert_allclose(every.sign_agreement, (0.75, 0.25))
    np.testing.assert_allclose(every.total_variation_ratio, (2.0, 2 / math.sqrt(3)))
    np.testing.assert_allclose(every.share_at_bound, (0.5, 0.5 / math.sqrt(3)))
    some = found.select([False, True, True, False]).means()
    assert some.images == 1 and some.total_variation_ratio.value == 2.0
    assert math.isnan(some.total_variation_ratio.standard_error)
    assert every.describe() == (
        "sign agreement 0.750 +- 0.250, total variation ratio 2.000 +- 1.155, "
        "share at bound 0.500 +- 0.289 over 3 images"
    )


@pytest.mark.parametrize("count", [0, 4])
def test_no_successes_say_so(count):
    """None chosen, none given: NaN without a warning, and words for a table."""
    changes = np.full((count, 3, 3, 1), 0.1, np.float32)
    found = perturbation_statistics(changes, eps=0.1)
    with np.errstate(all="raise"):
        means = found.select(np.zeros(count, bool)).means()
    assert means.images == 0 and means.describe() == "no perturbed images"
    assert np.isnan(np.array(means[1:])).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sign_agreement(np.zeros((2, 3, 3), np.float32)),
            "`perturbations` must have shape [B, H, W, C]. Received: shape=(2, 3, 3)",
        ),
        (
            lambda: total_variation_ratio(np.zeros((1, 2, 2, 1), int)),
            "`perturbations` must be floating. Received: dtype=int64",
        ),
        (
            lambda: share_at_bound(np.zeros((1, 2, 2, 1), np.float32), 0.0),
            "`eps` must be a finite number above 0. Received: eps=0.0",
        ),
        (
            lambda: perturbation_statistics(
                np.zeros((1, 2, 2, 1), np.float32), 0.1, tolerance=0.1
            ),
            "`tolerance` must be at least 0 and below `eps`, 0.1. "
            "Received: tolerance=0.1",
        ),
        (
            lambda: perturbation_statistics(
                np.zeros((1, 2, 2, 1), np.float32), 0.1
            ).select([1]),
            "`mask` must be bool [1], one for each image. Received: int64 [1]",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    """Wrong shapes, types and settings."""
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
