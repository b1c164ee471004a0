"""Means and their standard errors."""

import math
import operator
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

import tfrobust
from tfrobust.core.estimates import Estimate, mean, share_interval


def test_mean_against_scipy():
    """In float64, whatever the dtype and shape of the values."""
    values = np.random.default_rng(0).normal(1e4, 1.0, (7, 5)).astype(np.float32)
    estimate = mean(values)
    sample = values.astype(np.float64).ravel()
    assert estimate.value == sample.mean()
    np.testing.assert_allclose(estimate.standard_error, scipy.stats.sem(sample))


def test_too_few_values_have_no_error():
    """One value has no standard error, and none no mean."""
    assert mean([3.0]).value == 3.0
    assert math.isnan(mean([3.0]).standard_error)
    assert all(map(math.isnan, mean([])))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (".3f", "0.512 +- 0.011"),
        (".1%", "51.2% +- 1.1%"),
        ("", "Estimate(value=0.5123, standard_error=0.0112)"),
    ],
)
def test_a_format_is_of_both_numbers(form, expected):
    assert format(Estimate(0.5123, 0.0112), form) == expected


def test_without_an_error_the_value_is_shown_alone():
    assert f"{mean([0.25]):.2f}" == "0.25"
    assert f"{Estimate(0.25, 0.0):.2f}" == "0.25 +- 0.00"
    assert f"{mean([]):.2f}" == "nan"


def test_beside_a_number_it_is_its_value():
    estimate = Estimate(0.5, 0.1)
    assert float(estimate) == 0.5 and type(float(Estimate(np.float32(2), 0))) is float
    for compare in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq):
        for number in (0.4, 0.5, 0.6, 1):
            assert compare(estimate, number) == compare(0.5, number)
            assert compare(number, estimate) == compare(number, 0.5)
        # From the other side NumPy would take the pair for an array.
        number = np.float32(0.5)
        assert compare(estimate, number) == compare(0.5, number)
    assert estimate != 0.6 and not estimate != 0.5
    assert not any(compare(mean([]), 1) for compare in (operator.lt, operator.ge))


def test_two_estimates_are_ordered_by_value_and_equal_in_both_numbers():
    low, high = Estimate(0.4, 0.3), Estimate(0.5, 0.1)
    assert low < high and low <= high and high > low and high >= low
    assert max(high, low) is high
    assert low == Estimate(0.4, 0.3) and low != Estimate(0.4, 0.2)
    assert low == (0.4, 0.3)
    assert hash(low) == hash(0.4) == hash(Estimate(0.4, 0.2))


def test_it_is_still_a_pair():
    value, error = Estimate(0.4, 0.3)
    assert (value, error) == (0.4, 0.3)
    assert Estimate(0.4, 0.3)._asdict() == {"value": 0.4, "standard_error": 0.3}


def test_the_package_has_it_without_tensorflow():
    assert tfrobust.Estimate is Estimate and "Estimate" in dir(tfrobust)
    code = (
        "import sys, tfrobust; tfrobust.Estimate(1.0, 0.0); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("hits", "count"), [(0, 7), (7, 7), (1, 2), (317, 500)])
def test_the_interval_of_a_share_against_scipy(hits, count):
    test = scipy.stats.binomtest(hits, count)
    expected = test.proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(share_interval(hits, count), expected, atol=1e-7)


@pytest.mark.parametrize(("hits", "count"), [(3, 2), (-1, 2), (0, 0)])
def test_a_share_is_of_a_sample(hits, count):
    message = f"`hits` must be from 0 to `count`.* Received: hits={hits}, count={count}"
    with pytest.raises(ValueError, match=message):
        share_interval(hits, count)
