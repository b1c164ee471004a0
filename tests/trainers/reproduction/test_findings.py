"""Rules: what counts as a difference, and how answers become a mark."""

import math

import pytest

from tests.trainers.reproduction.made_up import network, record
from trainers.reproduction.findings import (
    ABOVE,
    BELOW,
    DOES_NOT,
    HOLDS,
    IN_PART,
    NOT_ABOVE,
    NOT_BELOW,
    NOT_TESTED,
    Claim,
    Finding,
    chain,
    compare,
)
from trainers.reproduction.results import Measured, Results, Value


def value(mean, error=math.nan):
    return Value(mean, error, 10, 1)


def x(name):
    return Measured(name, "x")


@pytest.fixture
def results():
    """a = 10 +- 3, b = 20 +- 4, c = 20.5 +- 4."""
    numbers = {"a": (10, 3), "b": (20, 4), "c": (20.5, 4)}
    return Results({k: [network(record(k, "x", *v))] for k, v in numbers.items()})


def test_a_difference_counts_beyond_two_errors_and_not_at_two():
    """Errors of 3 and 4 make one of 5: ten is two of them, exactly."""
    at, beyond = value(20, 4), value(20.001, 4)
    assert not compare(value(10, 3), BELOW, at)
    assert compare(value(10, 3), BELOW, beyond)
    assert compare(value(10, 3), NOT_BELOW, at)
    assert not compare(value(10, 3), NOT_BELOW, beyond)
    assert not compare(at, ABOVE, value(10, 3))
    assert compare(beyond, ABOVE, value(10, 3))
    assert compare(at, NOT_ABOVE, value(10, 3))
    assert not compare(beyond, NOT_ABOVE, value(10, 3))


def test_without_errors_numbers_are_compared_as_they_are():
    assert compare(value(1.0), BELOW, value(1.1))
    assert not compare(value(1.0), BELOW, value(1.0))
    assert compare(value(1.6), NOT_ABOVE, value(1.6))
    assert not compare(value(1.1, 0.06), ABOVE, value(1.0))


@pytest.mark.parametrize(
    ("claims", "mark"),
    [
        ([Claim(x("a"), BELOW, x("c"))], HOLDS),
        ([Claim(x("a"), BELOW, x("c")), Claim(x("a"), BELOW, x("b"))], IN_PART),
        ([Claim(x("a"), BELOW, x("c")), Claim(x("a"), BELOW, x("d"))], IN_PART),
        ([Claim(x("a"), BELOW, x("b"))], DOES_NOT),
        ([Claim(x("a"), BELOW, x("b")), Claim(x("a"), BELOW, x("d"))], DOES_NOT),
        ([Claim(x("a"), BELOW, x("d"))], NOT_TESTED),
        ([], NOT_TESTED),
    ],
)
def test_each_mark(results, claims, mark):
    assert Finding("L", "It is so.", claims).mark(results) == mark


def test_rule_and_numbers_are_said(results):
    claim = Claim(x("a"), BELOW, x("c"))
    assert claim.rule == "x of a < x of c"
    assert claim.answer(results) == (
        True,
        "x of a < x of c (10.0 +- 3.0 < 20.5 +- 4.0): yes",
    )
    assert Claim(x("a"), ABOVE, 30.0).answer(results) == (
        False,
        "x of a > 30 (10.0 +- 3.0 > 30): no",
    )
    assert Claim(x("d"), ABOVE, 1).answer(results) == (
        None,
        "x of d > 1: not measured",
    )


def test_a_chain_compares_neighbours():
    claims = chain([x("a"), x("b"), x("c")], BELOW)
    assert [claim.rule for claim in claims] == ["x of a < x of b", "x of b < x of c"]
