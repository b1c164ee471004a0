"""Rank correlations against SciPy, closed forms and what ranks cannot see."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tfrobust.analysis import partial_rank_correlation, rank_correlation

# Few values, so that many are equal.
TIED = st.integers(-2, 2).map(float)
PAIRS = st.integers(3, 12).flatmap(
    lambda count: st.tuples(
        *[st.lists(TIED, min_size=count, max_size=count) for _ in range(2)]
    )
)


@settings(max_examples=150)
@given(PAIRS)
def test_is_scipys(pair):
    """With ties, to float64 rounding; NaN where a side is constant, as there."""
    first, second = pair
    found = rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(found)
        return
    expected = stats.spearmanr(first, second).statistic
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert -1.0 <= found <= 1.0 and type(found) is float


@settings(max_examples=60)
@given(PAIRS)
def test_sees_order_alone(pair):
    """A rising map changes no bit, a falling one the sign, and sides are alike."""
    first, second = pair
    found = rank_correlation(first, second)
    rising = rank_correlation(np.exp(first), 3.0 * np.power(second, 3) - 1.0)
    falling = rank_correlation(first, np.arctan(np.negative(second)))
    turned = rank_correlation(second, first)
    np.testing.assert_array_equal([rising, -falling, turned], [found] * 3)


def test_formula_without_ties():
    """1 - 6 sum d^2 / (n (n^2 - 1)), and exactly 1 and -1 at the ends."""
    random = np.random.default_rng(0)
    for count in (3, 8, 50):
        first, second = random.permutation(count), random.permutation(count)
        gaps = np.sum((first - second) ** 2)
        expected = 1 - 6 * gaps / (count * (count**2 - 1))
        found = rank_correlation(first, second)
        assert found == pytest.approx(expected, abs=1e-14)
        assert rank_correlation(first, first * 1e9) == 1.0
        assert rank_correlation(first, -first) == -1.0


def test_pairs_without_a_number_do_not_count():
    """NaN or None on either side drops the pair; infinities have ranks."""
    nan = math.nan
    first = [1.0, nan, 3.0, 4.0, 2.0, 9.0, None]
    second = [2.0, 5.0, 1.0, nan, 7.0, 8.0, 0.0]
    expected = rank_correlation([1, 3, 2, 9], [2, 1, 7, 8])
    assert rank_correlation(first, second) == expected
    assert expected == pytest.approx(
        stats.spearmanr(first[:6], second[:6], nan_policy="omit").statistic
    )
    assert rank_correlation([-math.inf, 0, math.inf], [1, 2, 3]) == 1.0


@pytest.mark.parametrize(
    "pair",
    [
        ([], []),
        ([1, 2], [1, 2]),
        ([1, 2, math.nan], [1, 2, 3]),
        ([1, 1, 1, 1], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [7, 7, 7, 7]),
        # Constant among the pairs that count.
        ([1, 1, 1, 5], [1, 2, 3, math.nan]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_nothing_to_say(pair):
    """NaN, without a warning, of fewer than three pairs or of a constant."""
    assert math.isnan(rank_correlation(*pair))


@pytest.mark.parametrize("pair", [([1, 2, 3], [1, 2]), (np.ones((3, 2)),) * 2])
def test_lengths_that_differ(pair):
    """One sentence with both shapes."""
    with pytest.raises(
        ValueError, match="must be of one length. Received: shapes"
    ) as e:
        rank_correlation(*pair)
    assert all(str(np.shape(values)) in str(e.value) for values in pair)


def test_how_little_few_values_say():
    """What the docstring promises of unrelated values, counted or drawn."""
    random = np.random.default_rng(1)
    order = np.arange(8)
    found = [rank_correlation(order, random.permutation(8)) for _ in range(4000)]
    assert 0.04 < np.mean(np.abs(found) >= 0.735) < 0.06
    whole = [abs(rank_correlation(range(5), p)) == 1.0 for p in permutations(range(5))]
    assert np.mean(whole) == pytest.approx(1 / 60)


def test_partial_correlation_is_that_of_the_residuals():
    """Pearson's, of ranks from which a straight line in the third's is taken, NumPy."""
    random = np.random.default_rng(0)
    third = random.normal(size=60)
    first, second = third + random.normal(size=60), third**3 + random.normal(size=60)
    ranks = [stats.rankdata(values) for values in (first, second, third)]
    line = np.stack([np.ones(60), ranks[2]], axis=1)
    residuals = [r - line @ np.linalg.lstsq(line, r)[0] for r in ranks[:2]]
    found = partial_rank_correlation(first, second, third)
    assert found.value == pytest.approx(np.corrcoef(*residuals)[0, 1], abs=1e-12)
    plain = partial_rank_correlation(first, second)
    assert plain.value == rank_correlation(first, second)


def test_the_bootstraps_error_is_that_of_many_samples():
    """Of 100 pairs of normal numbers with a correlation of .6, within a fifth."""
    random = np.random.default_rng(1)

    def pairs():
        first = random.normal(size=100)
        return first, 0.6 * first + 0.8 * random.normal(size=100)

    spread = np.std([rank_correlation(*pairs()) for _ in range(400)])
    errors = [
        partial_rank_correlation(*pairs(), seed=i).standard_error for i in range(20)
    ]
    assert np.mean(errors) == pytest.approx(spread, rel=0.2)


def test_what_a_partial_correlation_cannot_be_of():
    """NaN of too few, of a constant, or where the third says all of one."""
    values = np.arange(6.0)
    assert math.isnan(partial_rank_correlation(values[:3], values[:3]).value)
    assert math.isnan(partial_rank_correlation(values, np.ones(6)).value)
    assert math.isnan(partial_rank_correlation(values, values[::-1], values).value)
    missing = np.append(values, np.nan), np.append(values, 0.0)
    assert partial_rank_correlation(*missing).value == 1.0
    with pytest.raises(ValueError, match="`given` must be of one length"):
        partial_rank_correlation(values, values, values[:2])
