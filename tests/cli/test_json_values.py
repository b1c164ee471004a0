"""Numbers on their way into JSON."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest

from tfrobust.cli.json_values import finite_or_none, plain

NOT_FINITE = (math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("-inf"))


@pytest.mark.parametrize("value", NOT_FINITE, ids=repr)
def test_what_is_not_finite_is_none(value):
    assert finite_or_none(value) is None
    assert plain(value) is None
    assert plain([{"deep": (value,)}]) == [{"deep": [None]}]


@pytest.mark.parametrize("value", [0.5, -0.0, np.float32(0.5), np.float64(1e300), 3])
def test_a_finite_number_stays(value):
    assert finite_or_none(value) == value
    assert type(finite_or_none(value)) is float
    assert plain(value) == value


def test_none_stays():
    assert finite_or_none(None) is None and plain(None) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(2**40), 2**40),
        (np.bool_(True), True),
        (True, True),
        (np.float16(0.25), 0.25),
        (Fraction(1, 4), 0.25),
        ("nan", "nan"),
        ({1: (2, [3.0])}, {"1": [2, [3.0]]}),
    ],
    ids=repr,
)
def test_kinds_are_those_of_python(value, expected):
    made = plain(value)
    assert made == expected and type(made) is type(expected)
    assert json.loads(json.dumps(made, allow_nan=False)) == expected


def test_what_is_no_value_of_json_is_left_for_json_to_refuse():
    thing = object()
    assert plain({"a": thing}) == {"a": thing}
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(plain({"a": thing}))
