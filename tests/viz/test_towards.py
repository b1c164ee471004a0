"""Blocks of rows, an original and its moved images, read back from the figure."""

import numpy as np
import pytest

from tfrobust import viz

NAMES = ["cat", "dog", "frog"]


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def pixels(axes):
    return np.asarray(axes.images[0].get_array(), np.float64).reshape(4, 5, -1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_block_an_image_a_row_a_network(channels):
    """Every picture in its place; names above and beside; pixels kept apart."""
    clean = images(2, 4, 5, channels)
    moved = {
        name: images(2, 3, 4, 5, channels, seed=seed)
        for seed, name in ((1, "plain"), (2, "robust"))
    }
    figure = viz.towards_classes(clean, moved, NAMES)
    grid = np.array(figure.axes).reshape(2, 2, 4)
    assert [axes.get_title() for axes in grid[0, 0]] == ["original", *NAMES]
    assert not any(axes.get_title() for axes in grid.reshape(4, 4)[1:].flat)
    for place, block in enumerate(grid):
        np.testing.assert_allclose(pixels(block[0, 0]), clean[place], atol=1e-7)
        assert not block[1, 0].images
        for line, (name, part) in zip(block, moved.items(), strict=True):
            assert line[0].get_ylabel() == name
            for axes, expected in zip(line[1:], part[place], strict=True):
                np.testing.assert_allclose(pixels(axes), expected, atol=1e-7)
                assert axes.images[0].get_interpolation() == "nearest"
                assert axes.images[0].get_clim() == (0, 1)


def test_places_on_the_page(tmp_path):
    """Once it is drawn: columns aligned, rows downwards, a gap between images."""
    moved = {name: images(2, 3, 4, 4, 3) for name in ("0", "0.2", "a longer name")}
    figure = viz.towards_classes(images(2, 4, 4, 3), moved, NAMES)
    viz.save(figure, tmp_path / "figure.png")
    boxes = [axes.get_position() for axes in figure.axes]
    centers = np.array([[(b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2] for b in boxes])
    centers = centers.reshape(6, 4, 2)
    assert np.ptp(centers[..., 0], axis=0).max() < 1e-6
    assert np.ptp(centers[..., 1], axis=1).max() < 1e-6
    assert (np.diff(centers[0, :, 0]) > 0).all()
    steps = -np.diff(centers[:, 0, 1])
    assert (steps > 0).all() and steps[2] > 1.05 * np.delete(steps, 2).max()


def test_one_image_may_be_followed_over_a_weight():
    """Rows of a sweep, some columns of all classes; out of range is clipped."""
    moved = {f"{weight:g}": images(1, 3, 4, 5, 1) + weight for weight in (0, 0.2, 0.4)}
    chosen = {name: part[:, [2]] for name, part in moved.items()}
    figure = viz.towards_classes(images(1, 4, 5, 1), chosen, ["frog"])
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["0", "0.2", "0.4"]
    expected = np.clip(moved["0.4"][0, 2], 0, 1)
    np.testing.assert_allclose(pixels(figure.axes[-1]), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("clean", "moved", "names", "message"),
    [
        (
            images(4, 5, 3),
            {},
            NAMES,
            "`clean` must have shape [N, H, W, C]. Received: shape=(4, 5, 3)",
        ),
        (
            images(2, 4, 5, 3),
            {},
            NAMES,
            "`clean`, `modified` and `class_names` must "
            "not be empty. Received: 2 images, 0 rows and 3 classes",
        ),
        (
            images(0, 4, 5, 3),
            {"a": images(0, 3, 4, 5, 3)},
            NAMES,
            "`clean`, `modified` "
            "and `class_names` must not be empty. Received: 0 images, 1 rows and 3 "
            "classes",
        ),
        (
            images(2, 4, 5, 3),
            {"a": images(2, 2, 4, 5, 3)},
            NAMES,
            "`modified` must "
            "hold arrays of shape (2, 3, 4, 5, 3), as `clean` and `class_names` say. "
            "Received: (2, 2, 4, 5, 3) for 'a'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_an_error(clean, moved, names, message):
    """Nothing to show, or arrays that do not belong together."""
    with pytest.raises(ValueError) as error:
        viz.towards_classes(clean, moved, names)
    assert str(error.value) == message
