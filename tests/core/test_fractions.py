"""Numbers and radii as people write them: 8/255, and back to the shortest text."""

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tfrobust.core.fractions import Eps, format_fraction, parse_fraction, parse_radii


@given(st.integers(-300, 300), st.integers(1, 300))
def test_a_fraction_is_the_nearest_number_to_it(above, below):
    assert parse_fraction(f"{above}/{below}") == float(Fraction(above, below))


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(1.2345678e306)  # 255 times this is infinite
def test_a_number_comes_back_from_its_text(value):
    assert parse_fraction(format_fraction(value)) == value
    assert parse_fraction(repr(value)) == value


@given(st.integers(1, 255))
def test_levels_of_a_byte_are_written_as_fractions(level):
    """In lowest terms only where that is what they are: 51/255 is 0.2."""
    text = format_fraction(level / 255)
    assert parse_fraction(text) == level / 255
    assert text == f"{level}/255" or len(text) < len(f"{level}/255")


@pytest.mark.parametrize("text", ["", "a", "1/0", "1/2/3", "inf", "nan", "8/", "1e400"])
def test_what_is_no_finite_number_is_refused(text):
    with pytest.raises(ValueError):
        parse_fraction(text)


def test_radii_rise_each_once_and_keep_their_text():
    radii = parse_radii("1,8/255,0.5,1/2")
    assert [radius.value for radius in radii] == [8 / 255, 0.5, 1.0]
    assert [str(radius) for radius in radii] == ["8/255", "0.5", "1"]
    assert radii[0] < radii[1] == Eps.parse("0.5")


@pytest.mark.parametrize("text", ["", "0.5,", "a,b", "-1,2", "0.5,inf"])
def test_what_is_no_radius_is_refused(text):
    with pytest.raises(ValueError, match="must be "):
        parse_radii(text)
