"""Panels read back: images as they are, changes in the colours of their sign."""

import numpy as np
import pytest

from tfrobust import viz

EPS = 8 / 255


def pair(count=2, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.1, 0.9, (count, 4, 5, channels))
    change = EPS * rng.choice([-1.0, 0.0, 0.5, 1.0], images.shape)
    return images, images + change


def shown(axes):
    return np.asarray(axes.images[0].get_array(), np.float64)


def test_columns_show_what_they_were_given():
    """Both images, the change about grey, its mean over channels, and each channel."""
    images, adversarial = pair()
    figure = viz.perturbation_panels(images, adversarial, EPS, names=["a", "b"])
    grid = np.array(figure.axes[:14]).reshape(2, 7)
    assert [axes.get_title() for axes in grid[0]] == [
        "natural",
        "adversarial",
        "overall",
        "channel mean",
        "red",
        "green",
        "blue",
    ]
    assert [row[0].get_ylabel() for row in grid] == ["a", "b"]
    for row, image, other in zip(grid, images, adversarial, strict=True):
        change = other - image
        np.testing.assert_allclose(shown(row[0]), image, atol=1e-7)
        np.testing.assert_allclose(shown(row[1]), other, atol=1e-7)
        np.testing.assert_allclose(2 * EPS * (shown(row[2]) - 0.5), change, atol=1e-7)
        np.testing.assert_allclose(shown(row[3]), change.mean(axis=-1), atol=1e-7)
        for channel in range(3):
            found = shown(row[4 + channel])
            np.testing.assert_allclose(found, change[..., channel], atol=1e-7)


def test_gray_images_have_one_panel_of_change():
    images, adversarial = pair(count=1, channels=1)
    figure = viz.perturbation_panels(images, adversarial, EPS)
    assert [axes.get_title() for axes in figure.axes[:3]] == [
        "natural",
        "adversarial",
        "perturbation",
    ]
    change = (adversarial - images)[0, ..., 0]
    np.testing.assert_allclose(shown(figure.axes[2]), change, atol=1e-7)


def test_colors_are_blue_gray_red():
    """No change is a true grey, also beside changes; beyond eps is as at eps."""
    images = np.full((1, 1, 5, 1), 0.5)
    change = np.array([-2 * EPS, -EPS, 0.0, EPS, 2 * EPS]).reshape(1, 1, 5, 1)
    figure = viz.perturbation_panels(images, images + change, EPS)
    panel = figure.axes[2].images[0]
    assert panel.get_clim() == (-EPS, EPS)
    colors = panel.to_rgba(panel.get_array())[0, :, :3]
    np.testing.assert_array_equal(colors[0], colors[1])
    np.testing.assert_array_equal(colors[3], colors[4])
    assert np.ptp(colors[2]) < 1e-9
    assert colors[1].argmax() == 2 and colors[3].argmax() == 0
    bar = figure.axes[-1]
    assert [tick.get_text() for tick in bar.get_yticklabels()] == [
        "-8/255",
        "0",
        "+8/255",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (np.zeros((0, 4, 4, 3)), np.zeros((0, 4, 4, 3)), EPS),
            "`images` must have shape [N, H, W, C] with N at least 1 and one or three "
            "channels. Received: shape=(0, 4, 4, 3)",
        ),
        (
            (np.zeros((1, 4, 4, 2)), np.zeros((1, 4, 4, 2)), EPS),
            "`images` must have shape [N, H, W, C] with N at least 1 and one or three "
            "channels. Received: shape=(1, 4, 4, 2)",
        ),
        (
            (np.zeros((2, 4, 4, 3)), np.zeros((1, 4, 4, 3)), EPS),
            "`adversarial` must have the shape of `images`, (2, 4, 4, 3). "
            "Received: shape=(1, 4, 4, 3)",
        ),
        (
            (np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4, 3)), 0),
            "`eps` must be a finite number above 0. Received: eps=0",
        ),
        (
            (np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4, 3)), EPS, ["a", "b"]),
            "`names` must hold 1 strings, one an image. Received: 2",
        ),
    ],
)
def test_what_cannot_be_drawn_is_an_error(arguments, message):
    """Nothing to show, or arrays that do not belong together."""
    with pytest.raises(ValueError) as error:
        viz.perturbation_panels(*arguments)
    assert str(error.value) == message
