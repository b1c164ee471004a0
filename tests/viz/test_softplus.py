"""The figure of softplus shows the curves that it was given."""

import numpy as np
import pytest

from tfrobust import viz

X = np.linspace(-1, 1, 5)
CURVES = {2.0: (X + 1, X), 1000.0: (X + 3, X / 2)}


def test_each_panel_has_its_curves():
    figure = viz.softplus_curves(X, CURVES)
    assert [axes.get_title() for axes in figure.axes] == [
        "softplus",
        "centered softplus",
    ]
    for place, axes in enumerate(figure.axes):
        for line, pair in zip(axes.get_lines(), CURVES.values(), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), X)
            np.testing.assert_array_equal(line.get_ydata(), pair[place])
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["beta = 2", "beta = 1000"]


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "`curves` must hold at least one beta. Received: none"),
        (
            {2.0: (X, X[:3])},
            "`curves` must hold two curves of 5 numbers for each beta. "
            "Received: lengths [5, 3] for 2",
        ),
    ],
)
def test_what_cannot_be_drawn_is_an_error(curves, message):
    with pytest.raises(ValueError) as error:
        viz.softplus_curves(X, curves)
    assert str(error.value) == message
