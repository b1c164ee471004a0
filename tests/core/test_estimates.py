"""Means and their standard errors."""

import math

import numpy as np
import scipy.stats

from tfrobust.core.estimates import mean


def test_mean_against_scipy():
    """In float64, whatever the dtype and shape of the values."""
    values = np.random.default_rng(0).normal(1e4, 1.0, (7, 5)).astype(np.float32)
    found = mean(values)
    sample = values.astype(np.float64).ravel()
    assert found.value == sample.mean()
    np.testing.assert_allclose(found.standard_error, scipy.stats.sem(sample))


def test_too_few_values_have_no_error():
    """One value has no standard error, and none no mean."""
    assert mean([3.0]).value == 3.0
    assert math.isnan(mean([3.0]).standard_error)
    assert all(map(math.isnan, mean([])))
