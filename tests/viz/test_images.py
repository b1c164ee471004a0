"""Rows of images with a model's answers, read back from the figure."""

import numpy as np
import pytest

from tfrobust import viz


def images(count, channels=3, seed=0):
    random = np.random.default_rng(seed)
    return random.random((count, 4, 5, channels)).astype(np.float32)


def test_every_image_stands_over_its_answer():
    """Pixels, titles and answers are those given; a wrong answer is red."""
    clean, attacked = images(3), images(3, seed=1)
    rows = {"clean": (clean, ["a", "b", "c"]), "attacked": (attacked, ["a", "x", "c"])}
    figure = viz.image_rows(rows, truth=["a", "b", "c"])
    grid = np.array(figure.axes).reshape(2, 3)
    for line, batch, answers in zip(
        grid, (clean, attacked), ("abc", "axc"), strict=True
    ):
        for axes, image, answer in zip(line, batch, answers, strict=True):
            np.testing.assert_array_equal(axes.images[0].get_array(), image)
            assert axes.get_xlabel() == answer
    titles = [axes.get_title(loc="left") for axes in grid.flat]
    assert titles == ["clean", "", "", "attacked", "", ""]
    colors = [axes.xaxis.label.get_color() for axes in grid.flat]
    assert colors == ["black"] * 4 + ["red", "black"]
    assert not any(
        list(axes.get_xticks()) + list(axes.get_yticks()) for axes in grid.flat
    )


def test_one_channel_is_gray_from_0_to_1():
    """A dark image stays dark: limits do not adapt to it."""
    dim = images(1, channels=1) * 0.1
    (axes,) = viz.image_rows({"dim": (dim, ["a"])}, truth=["a"]).axes
    shown = axes.images[0]
    np.testing.assert_array_equal(np.squeeze(shown.get_array()), dim[0, :, :, 0])
    assert shown.get_cmap().name == "gray" and shown.get_clim() == (0, 1)


def test_pixels_outside_the_range_are_cut_off():
    """Rounding errors of an attack do not make matplotlib complain."""
    (axes,) = viz.image_rows({"": (images(1) * 3 - 1, ["a"])}, truth=["a"]).axes
    pixels = axes.images[0].get_array()
    assert pixels.min() == 0 and pixels.max() == 1


@pytest.mark.parametrize(
    ("rows", "truth", "message"),
    [
        (
            {"clean": (images(2), ["a", "b"]), "pgd": (images(2), ["a"])},
            ["a", "b"],
            "`rows` must hold 2 images and answers each, as `truth` does. "
            "Received: 2 and 1 for 'pgd'",
        ),
        (
            {"clean": (images(3), ["a", "b"])},
            ["a", "b"],
            "`rows` must hold 2 images and answers each, as `truth` does. "
            "Received: 3 and 2 for 'clean'",
        ),
        (
            {},
            ["a"],
            "`rows` and `truth` must not be empty. Received: 0 rows and 1 names",
        ),
        (
            {"clean": (images(1)[:0], [])},
            [],
            "`rows` and `truth` must not be empty. Received: 1 rows and 0 names",
        ),
    ],
)
def test_rows_that_do_not_fit(rows, truth, message):
    """Counts that differ, and nothing at all."""
    with pytest.raises(ValueError) as error:
        viz.image_rows(rows, truth)
    assert str(error.value) == message
