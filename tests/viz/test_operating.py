"""The operating characteristics show the numbers that they were given."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tfrobust import viz

CURVES = {
    "FGSM": ([0.0, 1.0, 3.0], [0.0, 0.25, 0.75]),
    "PGD": ([0.5, 2.0], [0.5, 1.0]),
    "none": ([0.0], [0.0]),
}


def test_each_curve_steps_where_its_numbers_say():
    """From 0, in percent, holding each share to the next and on to the right edge."""
    figure = viz.operating_characteristics(CURVES, "L2", limit=4.0)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "distortion D, L2" and axes.get_xlim() == (0, 4)
    for line, (name, (distortions, shares)) in zip(
        axes.lines, CURVES.items(), strict=True
    ):
        assert line.get_label() == name and line.get_drawstyle() == "steps-post"
        x, y = line.get_data()
        assert x[0] == 0 and y[0] == 0 and x[-1] == 4.0
        for distortion in np.linspace(0.01, 3.99, 23):
            below = [
                s for d, s in zip(distortions, shares, strict=True) if d <= distortion
            ]
            shown = np.asarray(y)[np.asarray(x) <= distortion][-1]
            assert shown == 100 * (below[-1] if below else 0.0)
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == list(CURVES)


def test_curves_can_be_told_apart_in_gray():
    """Six equal curves, each drawn alone in black, leave six different pictures."""
    curves = {f"attack {index}": ([0.0, 0.5], [0.5, 1.0]) for index in range(6)}
    figure = viz.operating_characteristics(curves)
    canvas = FigureCanvasAgg(figure)
    figure.legends[0].remove()
    lines, pictures = figure.axes[0].lines, set()
    for line in lines:
        line.set(color="black", linewidth=2.0)
    for shown in lines:
        for line in lines:
            line.set_visible(line is shown)
        canvas.draw()
        pictures.add(np.asarray(canvas.buffer_rgba()).tobytes())
    assert len(pictures) == 6


def test_the_axis_ends_beyond_the_largest_distortion():
    """Or at the limit, beyond which a curve goes on unseen; alone at 0, at 1."""
    (axes,) = viz.operating_characteristics(CURVES).axes
    assert axes.get_xlim()[1] == pytest.approx(3.15)
    (axes,) = viz.operating_characteristics(CURVES, limit=2.0).axes
    assert axes.get_xlim()[1] == 2.0
    assert axes.lines[0].get_xdata()[-1] == 3.0
    (axes,) = viz.operating_characteristics({"none": ([], [])}).axes
    assert axes.get_xlim() == (0, 1)


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "`curves` must hold at least one attack. Received: none"),
        (
            {"a": ([0, 1], [0.0])},
            "`curves` must hold sequences of one length. Received: lengths [2, 1] "
            "for 'a'",
        ),
        (
            {"a": ([0, 2, 1], [0.0, 0.1, 0.2])},
            "`curves` must hold distortions that rise from 0 or more. "
            "Received: others for 'a'",
        ),
        (
            {"a": ([-1, 2], [0.0, 0.1])},
            "`curves` must hold distortions that rise from 0 or more. "
            "Received: others for 'a'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_an_error(curves, message):
    """No attack, a curve that ends early, or one that goes back."""
    with pytest.raises(ValueError) as error:
        viz.operating_characteristics(curves)
    assert str(error.value) == message
