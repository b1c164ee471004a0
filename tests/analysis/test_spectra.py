"""Amplitude spectra against NumPy's."""

import math

import numpy as np
import pytest

from tests.analysis.common import images
from tfrobust.analysis import log_amplitude, log_amplitude_difference


@pytest.mark.parametrize("shape", [(4, 6, 1), (5, 4, 3)])
@pytest.mark.parametrize("batch_size", [2, 100])
def test_log_amplitude_is_numpys(shape, batch_size):
    """Mean of logarithms, frequency 0 in the centre; channels then averaged."""
    shown = images(5, shape)
    for offset in (1.0 / 255.0, 1.0):
        spectrum = np.abs(np.fft.fft2(np.float64(shown), axes=(1, 2)))
        expected = np.log(spectrum + offset).mean(axis=0)
        expected = np.fft.fftshift(expected, axes=(0, 1))
        keywords = {"offset": offset, "batch_size": batch_size}
        found = log_amplitude(shown, per_channel=True, **keywords)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2e-5)
        found = log_amplitude(shown, **keywords)
        np.testing.assert_allclose(found, expected.mean(axis=-1), atol=2e-5)


def test_default_offset_is_one_level_of_one_pixel():
    """Its amplitude is the same at all frequencies, and the logarithm that of two."""
    dot = np.zeros((1, 4, 5, 1), np.float32)
    dot[0, 2, 3] = 1 / 255
    np.testing.assert_allclose(log_amplitude(dot), math.log(2 / 255), rtol=1e-6)


def test_difference_of_two_sets():
    """Of different sizes; the settings reach both."""
    first, second = images(3), images(2, seed=4)
    settings = {"offset": 0.5, "per_channel": True}
    expected = log_amplitude(first, **settings) - log_amplitude(second, **settings)
    found = log_amplitude_difference(first, second, **settings)
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (6, 5, 2) and np.abs(found).max() > 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: log_amplitude(images(0)),
            "`images` must hold at least one image. Received: none",
        ),
        (
            lambda: log_amplitude(images(), offset=0.0),
            "`offset` must be a finite number above 0. Received: offset=0.0",
        ),
        (
            lambda: log_amplitude_difference(images(), images(shape=(6, 6, 2))),
            "`others` must have the size of `images`, (6, 5, 2). "
            "Received: shape=(3, 6, 6, 2)",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
