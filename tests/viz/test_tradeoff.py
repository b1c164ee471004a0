"""The accuracy-against-beta figure shows the numbers that it was given."""

import numpy as np
import pytest

from tfrobust import viz


def test_points_and_lines_stand_where_their_numbers_say():
    """A learnable beta is a point with its error; a standard network is a line."""
    figure = viz.accuracy_against_beta(
        {"plain": (None, 0.5, 0.01), "a": (2.0, 0.25, 0.02), "b": (8.0, 0.75, 0.04)}
    )
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["plain"].get_ydata()) == [50.0, 50.0]
    points = {bars.get_label(): bars for bars in axes.containers}
    for name, beta, accuracy, error in (("a", 2.0, 25, 2), ("b", 8.0, 75, 4)):
        line, _, (bar,) = points[name]
        np.testing.assert_allclose([line.get_xdata()[0]], [beta])
        np.testing.assert_allclose([line.get_ydata()[0]], [accuracy])
        np.testing.assert_allclose(
            bar.get_segments()[0][:, 1], [accuracy - error, accuracy + error]
        )
    assert len(axes.get_legend().get_texts()) == 3


def test_nothing_to_draw_is_an_error():
    """No network, no figure, and one sentence that says so."""
    with pytest.raises(ValueError, match="Received: none"):
        viz.accuracy_against_beta({})


def test_curves_join_points_in_the_order_of_their_curvature():
    """Each with its strength beside it and an error both ways."""
    points = [("weak", (8.0, 0.5), (0.75, 0.04)), ("strong", (2.0, 0.1), (0.25, 0.02))]
    figure = viz.accuracy_against_curvature({"a": points, "b": points[:1]})
    (axes,) = figure.axes
    first, second = axes.containers
    assert list(first[0].get_xdata()) == [2, 8]
    assert list(first[0].get_ydata()) == [25, 75]
    across, up = (bars.get_segments() for bars in first[2])
    np.testing.assert_allclose(across[0][:, 0], [1.9, 2.1])
    np.testing.assert_allclose(up[1][:, 1], [71, 79])
    assert list(second[0].get_xdata()) == [8]
    assert [text.get_text() for text in axes.texts] == ["strong", "weak", "weak"]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["a", "b"]


def test_curves_without_points_are_an_error():
    """One sentence."""
    with pytest.raises(ValueError, match="at least one point. Received: none"):
        viz.accuracy_against_curvature({"a": []})
