"""What all figures have in common."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tfrobust.viz import style


@pytest.fixture
def axes():
    return Figure(layout="constrained").subplots()


def test_axes_of_curves_have_a_grid_and_two_lines(axes):
    style.frame(axes)
    seen = {name for name, spine in axes.spines.items() if spine.get_visible()}
    assert seen == {"left", "bottom"}
    assert all(line.get_visible() for line in axes.get_xgridlines())
    assert {line.get_alpha() for line in axes.get_ygridlines()} == {0.25}


def test_axes_of_images_are_bare(axes):
    assert style.bare(axes) is axes
    assert not any(spine.get_visible() for spine in axes.spines.values())
    assert not len(axes.get_xticks()) and not len(axes.get_yticks())


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_clipped_and_black_is_0(axes, channels):
    image = np.linspace(-0.5, 1.5, 6 * channels).reshape(2, 3, channels)
    style.show_image(axes, image)
    (shown,) = axes.images
    np.testing.assert_array_equal(
        np.reshape(shown.get_array(), image.shape), np.clip(image, 0, 1)
    )
    assert shown.get_clim() == (0, 1) and shown.get_cmap().name == "gray"


def test_curves_are_told_apart_by_more_than_color():
    """No two of the first ten look alike, and none is too thin."""
    looks = {(style.color_of(i), style.marker_of(i)) for i in range(10)}
    assert len(looks) == 10
    assert style.color_of(3) == style.color_of(13)
    assert [style.width_of(i, 2.0, 0.5) for i in range(4)] == [2.0, 1.5, 1.2, 1.2]


def test_a_band_has_the_color_of_its_curve(axes):
    style.band(axes, [0, 1], [0.0, 1.0], [1.0, 2.0], "#ff0000")
    (found,) = axes.collections
    np.testing.assert_allclose(found.get_facecolor(), [[1, 0, 0, 0.2]])


def test_a_legend_has_the_entries_that_are_given(axes):
    (line,) = axes.plot([0, 1], label="a")
    figure = axes.figure
    every = style.legend_below(figure, ncols=2)
    assert [text.get_text() for text in every.get_texts()] == ["a"]
    renamed = style.legend_below(figure, [line], ["b"], fontsize=7)
    assert [text.get_text() for text in renamed.get_texts()] == ["b"]
    assert renamed.get_texts()[0].get_fontsize() == 7
    assert not every.get_frame_on() and every.get_texts()[0].get_fontsize() == 9
