"""The stability figure shows the numbers that it was given."""

import numpy as np
import pytest

from tfrobust import viz

RADII = [1e-3, 1e-2, 1e-1]
CURVES = {
    "plain": (RADII, [0.01, 0.1, 0.5], [0.001, 0.02, 0.6], [0.02, 0.2, 2.0]),
    "flat": (RADII, [0.001, 0.01, 0.1], [0.0, 0.0, 0.0], None),
}


def test_curves_and_bounds_stand_where_their_numbers_say():
    """A full line a network, and a dashed one of its colour where there is a bound."""
    figure = viz.gradient_stability(CURVES)
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    plain, bound, flat, _ = axes.get_lines()
    for line, values in ((plain, CURVES["plain"][1]), (bound, CURVES["plain"][3])):
        np.testing.assert_array_equal(line.get_xdata(), RADII)
        np.testing.assert_array_equal(line.get_ydata(), values)
    np.testing.assert_array_equal(flat.get_ydata(), CURVES["flat"][1])
    assert (plain.get_linestyle(), bound.get_linestyle()) == ("-", "--")
    assert plain.get_color() == bound.get_color() != flat.get_color()
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["plain", "flat", "bound"]


def test_bands_are_one_standard_error_and_stay_positive():
    """A logarithmic axis could not show what lies below zero."""
    axes = viz.gradient_stability(CURVES).axes[0]
    corners = axes.collections[0].get_paths()[0].vertices
    at = {r: corners[np.isclose(corners[:, 0], r), 1] for r in RADII}
    np.testing.assert_allclose([at[1e-3].min(), at[1e-3].max()], [0.009, 0.011])
    np.testing.assert_allclose([at[1e-2].min(), at[1e-2].max()], [0.08, 0.12])
    assert 0 < at[1e-1].min() < 0.5
    np.testing.assert_allclose(at[1e-1].max(), 1.1)


def test_without_any_bound_none_is_promised():
    """The legend names what is drawn, nothing else."""
    figure = viz.gradient_stability({"flat": CURVES["flat"]})
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["flat"]


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "Received: none"),
        ({"a": (RADII, [1, 2, 3], [0, 0], None)}, r"lengths \[2, 3\] for 'a'"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(curves, message):
    """No network, or a curve that ends early."""
    with pytest.raises(ValueError, match=message):
        viz.gradient_stability(curves)
