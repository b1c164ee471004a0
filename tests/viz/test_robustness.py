"""The accuracy-over-eps figure shows the numbers that it was given."""

import numpy as np
import pytest

from tfrobust import viz

EPS = [0.0, 0.1, 0.2]


def test_points_and_errors_stand_where_their_numbers_say():
    """In percent, one curve a network, the axis named after the norm."""
    curves = {
        "plain": (EPS, [0.75, 0.5, 0.25], [0.01, 0.02, 0.03]),
        "flat": (EPS, [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]),
    }
    figure = viz.accuracy_over_eps(curves, "Linf")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "eps, Linf" and axes.get_ylim()[0] == 0
    for bars, (name, curve) in zip(axes.containers, curves.items(), strict=True):
        line, _, (errors,) = bars
        assert bars.get_label() == name
        np.testing.assert_array_equal(line.get_xdata(), EPS)
        shown = np.asarray(line.get_ydata(), float)
        np.testing.assert_allclose(shown, 100 * np.array(curve[1]))
        spans = np.array([part[:, 1] for part in errors.get_segments()])
        low, high = (100 * np.add(curve[1], s * np.array(curve[2])) for s in (-1, 1))
        np.testing.assert_allclose(spans, np.stack([low, high], axis=1))
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["plain", "flat"]


def test_points_are_stars_in_the_colours_of_the_curves():
    curves = {name: (EPS, [0.75, 0.5, 0.25], [0.01] * 3) for name in ("a", "b")}
    points = {"a, strong": (0.1, 0.25, 0.0), "b, strong": (0.2, 0.125, 0.02)}
    (axes,) = viz.accuracy_over_eps(curves, points=points).axes
    bars = axes.containers
    assert [each.get_label() for each in bars] == [*curves, *points]
    for curve, star, (eps, accuracy, _) in zip(
        bars[:2], bars[2:], points.values(), strict=True
    ):
        assert star[0].get_marker() == "*" and star[0].get_linestyle() == "None"
        assert star[0].get_color() == curve[0].get_color()
        np.testing.assert_allclose(star[0].get_xydata(), [[eps, 100 * accuracy]])


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "Received: none"),
        ({"a": (EPS, [1, 1], [0, 0, 0])}, r"lengths \[3, 2, 3\] for 'a'"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(curves, message):
    """No network, or a curve that ends early."""
    with pytest.raises(ValueError, match=message):
        viz.accuracy_over_eps(curves)
