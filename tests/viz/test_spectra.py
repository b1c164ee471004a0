"""Spectra and curves read back from their figures."""

import math

import numpy as np
import pytest

from tfrobust import viz
from tfrobust.analysis import frequency_radius

SCALES = [0.0, 0.5, math.sqrt(2)]
RISING = (SCALES, [0.1, 0.5, 0.9], [0.01, 0.02, 0.03])
FALLING = (SCALES, [0.8, math.nan, 0.0], [0.0, math.nan, 0.0])


def spectrum(height, width, seed=0):
    return np.random.default_rng(seed).normal(size=(height, width))


def test_spectra_share_one_scale_and_differences_another():
    first, second = spectrum(4, 5), 3 * spectrum(4, 5, seed=1)
    change = second - first
    figure = viz.amplitude_spectra({"a": first, "b": second}, {"b - a": change})
    panels = {axes.get_title(): axes.images[0] for axes in figure.axes[:3]}
    assert list(panels) == ["a", "b", "b - a"]
    for name, values in {"a": first, "b": second, "b - a": change}.items():
        np.testing.assert_array_equal(panels[name].get_array(), values)
    both = np.stack([first, second])
    assert panels["a"].get_clim() == panels["b"].get_clim() == (both.min(), both.max())
    end = np.abs(change).max()
    assert panels["b - a"].get_clim() == (-end, end)
    np.testing.assert_allclose(panels["b - a"].to_rgba(0.0)[:3], 1.0, atol=0.04)


@pytest.mark.parametrize("size", [(4, 4), (5, 5), (4, 7)])
def test_distance_from_the_center_is_the_scale(size):
    """Centres of the drawn cells against the radii of the analysis."""
    figure = viz.amplitude_spectra({"a": spectrum(*size)})
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert left < right and top < bottom
    across = left + (np.arange(size[1]) + 0.5) * (right - left) / size[1]
    down = top + (np.arange(size[0]) + 0.5) * (bottom - top) / size[0]
    found = np.hypot(down[:, None], across[None, :])
    np.testing.assert_allclose(found, frequency_radius(*size), atol=1e-6)
    # Nothing but the spectrum is in view.
    assert figure.axes[0].get_xlim() == (left, right)
    assert figure.axes[0].get_ylim() == (bottom, top)


def test_no_difference_can_be_drawn():
    """Alone, and rather than between two equal ends."""
    figure = viz.amplitude_spectra({}, {"none": np.zeros((4, 4))})
    assert figure.axes[0].images[0].get_clim() == (-1, 1)


def test_curves_stand_where_their_numbers_say():
    """In percent, one standard error about; a name has one colour in all panels."""
    figure = viz.accuracy_over_scale(
        {
            "standard": {"natural": RISING, "adversarial": FALLING},
            "robust": {"adversarial": RISING},
        }
    )
    standard, robust = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["standard", "robust"]
    assert standard.get_xlim() == robust.get_xlim() == (0, math.sqrt(2))
    lines = {line.get_label(): line for line in standard.lines}
    for name, (scales, accuracy, _) in {
        "natural": RISING,
        "adversarial": FALLING,
    }.items():
        np.testing.assert_array_equal(lines[name].get_xdata(), scales)
        np.testing.assert_allclose(
            lines[name].get_ydata(), 100 * np.array(accuracy), rtol=1e-12
        )
    corners = standard.collections[0].get_paths()[0].vertices
    for scale, value, error in zip(*RISING, strict=True):
        at = corners[np.isclose(corners[:, 0], scale), 1]
        ends = [100 * (value - error), 100 * (value + error)]
        np.testing.assert_allclose([at.min(), at.max()], ends)
    other = {line.get_label(): line for line in robust.lines}["adversarial"]
    assert other.get_color() == lines["adversarial"].get_color()
    assert lines["natural"].get_color() != other.get_color()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "natural",
        "adversarial",
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: viz.amplitude_spectra({}),
            "`spectra` must hold at least one. Received: none",
        ),
        (
            lambda: viz.amplitude_spectra({}, {"a": np.zeros((4, 4, 3))}),
            "`differences` must hold arrays of shape [H, W]. "
            "Received: shape=(4, 4, 3) for 'a'",
        ),
        (
            lambda: viz.accuracy_over_scale({"a": {}}),
            "`panels` must hold at least one curve. Received: none",
        ),
        (
            lambda: viz.accuracy_over_scale({"a": {"b": ([0, 1], [0.5], [0.1])}}),
            "`panels` must hold sequences of one length. "
            "Received: lengths [2, 1, 1] for 'b' of 'a'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_an_error(call, message):
    """Nothing to show, or sequences that do not belong together."""
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
