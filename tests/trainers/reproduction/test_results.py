"""Numbers of ours: which record it is, what seeds and ratios make of it."""

import math

import numpy as np
import pytest

from tests.trainers.reproduction.made_up import network, record
from trainers.reproduction.results import (
    Flag,
    Measured,
    Ratio,
    Results,
    Summary,
    over_seeds,
)


def test_a_record_is_found_by_what_it_must_have():
    results = Results(
        {
            "a": [
                network(
                    record("a", "accuracy", 0.9, 0.01, split="test", attacked=True),
                    record("a", "accuracy", 0.8, 0.02, split="test"),
                )
            ]
        }
    )
    source = Measured("a", "accuracy", {"split": "test", "attacked": None}, 100)
    assert source.value(results) == pytest.approx((80, 2, 100, 1))
    assert Measured("a", "curvature").value(results) is None
    assert Measured("b", "accuracy").value(results) is None


def test_one_of_several_suites_is_meant():
    """The later of two suites says its name where it measured something else."""
    both = [
        record("a", "curvature", 5.0, split="test"),
        record("a", "curvature", 6.0, split="test", suite="lcnn"),
    ]
    results = Results({"a": [network(*both)]})
    assert Measured("a", "curvature", suite="lcnn").value(results).mean == 6
    assert Measured("a", "curvature", suite="pag").value(results).mean == 5


def test_two_different_records_are_refused():
    pair = [
        record("a", "success", mean, attack=name) for mean, name in ((1, 2), (2, 3))
    ]
    with pytest.raises(ValueError) as caught:
        Measured("a", "success").value(Results({"a": [network(*pair)]}))
    assert "which 2 records of a have" in str(caught.value)


def test_the_same_number_of_two_evaluations_is_one():
    twice = [record("a", "accuracy", 0.5, split="test")] * 2
    assert (
        Measured("a", "accuracy").value(Results({"a": [network(*twice)]})).mean == 0.5
    )


def test_error_over_seeds_by_hand():
    """1, 2 and 6: mean 3, variance (4 + 1 + 9) / 2 = 7, error sqrt(7 / 3)."""
    value = over_seeds([1.0, 2.0, 6.0], [0.1, 0.2, 0.3], 10)
    assert value.mean == 3 and value.seeds == 3 and value.images == 10
    assert value.error == pytest.approx(math.sqrt(7 / 3))


def test_the_larger_error_counts():
    """Seeds that agree by chance do not make the images more."""
    assert over_seeds([2.0, 2.0], [0.5, 0.7], 10).error == pytest.approx(0.6)
    assert over_seeds([2.0], [math.nan], 0).error is not None
    assert math.isnan(over_seeds([2.0], [math.nan], 0).error)
    assert over_seeds([math.nan], [0.1], 10) is None
    assert over_seeds([], [], 10) is None


def test_ratio_against_simulation():
    """Its error, first order in both errors, against a million draws."""
    results = Results(
        {
            "a": [network(record("a", "x", 8.0, 0.2))],
            "b": [network(record("b", "x", 4.0, 0.1))],
        }
    )
    value = Ratio(Measured("a", "x"), Measured("b", "x")).value(results)
    random = np.random.default_rng(0)
    drawn = random.normal(8, 0.2, 10**6) / random.normal(4, 0.1, 10**6)
    assert value.mean == 2 and value.seeds == 1
    # The second order of a relative error of 1/40 is below a hundredth of the first.
    assert value.error == pytest.approx(drawn.std(), rel=0.01)


def test_a_number_over_itself_is_one_without_error():
    results = Results({"a": [network(record("a", "x", 8.0, 0.2))]})
    value = Ratio(Measured("a", "x"), Measured("a", "x")).value(results)
    assert value.mean == 1 and math.isnan(value.error)


def test_summary_and_flag():
    results = Results(
        {"a": [network(flags={"w": "0.4"}, summary={"s": n}) for n in (1.0, 3.0)]}
    )
    assert Summary("a", "s", "seconds").value(results) == (2, 1, 0, 2)
    value = Flag("a", "w").value(results)
    assert (value.mean, value.seeds) == (0.4, 2) and math.isnan(value.error)
    assert Flag("a", "v").value(results) is None
    assert Summary("b", "s", "seconds").value(results) is None
