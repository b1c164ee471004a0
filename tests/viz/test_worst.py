"""Originals, adversarial images and perturbations, read back from the figure."""

import numpy as np
import pytest

from tfrobust import viz


def images(count, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.1, 0.9, (count, 4, 5, channels)).astype(np.float32)


def pixels(axes):
    return np.asarray(axes.images[0].get_array(), np.float64).reshape(4, 5, -1)


def test_channels_may_be_spread_one_by_one():
    """Each from its least change to its largest, a flat one grey; by hand."""
    clean, change = np.full((1, 4, 5, 3), 0.5), np.zeros((1, 4, 5, 3))
    change[0, 0, 0] = [-0.1, 0.02, 0.0]
    change[0, 1, 1] = [0.3, 0.04, 0.0]
    case = (clean, clean + change, [np.nan])
    figure = viz.worst_cases({"sC&W": case}, by_channel=True)
    first, _, last = figure.subfigs[0].axes
    assert first.get_title() == "not fooled"
    shown = pixels(last)
    np.testing.assert_allclose(shown[0, 0], [0.0, 0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(shown[1, 1], [1.0, 1.0, 0.5], atol=1e-12)
    np.testing.assert_allclose(shown[2, 2], [0.25, 0.0, 0.5], atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_columns_show_what_they_were_given(channels):
    """Image, adversarial image, their difference about grey; D above, scale below."""
    first = (images(3, channels), images(3, channels, seed=1), [2.0, 1.5, 0.125])
    second = (images(2, channels, 2), images(2, channels, seed=3), [9.0, 8.0])
    figure = viz.worst_cases({"FGSM": first, "PGD": second}, digits=3)
    blocks = figure.subfigs
    assert [block.get_suptitle() for block in blocks] == ["FGSM", "PGD"]
    for block, (clean, attacked, distortions) in zip(
        blocks, (first, second), strict=True
    ):
        grid = np.array(block.axes).reshape(3, 3)
        labels = [axes.get_ylabel() for axes in grid[:, 0]]
        assert labels == ["original", "adversarial", "perturbation"]
        for column, image, other, distortion in zip(
            grid.T, clean, attacked, distortions, strict=False
        ):
            assert column[0].get_title() == f"D = {distortion:.3f}"
            np.testing.assert_allclose(pixels(column[0]), image, atol=1e-7)
            np.testing.assert_allclose(pixels(column[1]), other, atol=1e-7)
            change = other.astype(np.float64) - image
            largest = np.abs(change).max()
            shown = 2 * largest * (pixels(column[2]) - 0.5)
            np.testing.assert_allclose(shown, change, atol=1e-7)
            assert column[2].get_xlabel() == f"up to {255 * largest:.3g}/255"
            for axes in column:
                assert axes.images[0].get_clim() == (0, 1)
    # The third column of the second block has nothing to show.
    assert not any(axes.images for axes in np.array(blocks[1].axes).reshape(3, 3)[:, 2])


def test_no_change_is_gray():
    """Rather than a division by zero."""
    same = images(1)
    figure = viz.worst_cases({"none": (same, same, [0.0])})
    np.testing.assert_array_equal(pixels(figure.axes[2]), np.full((4, 5, 3), 0.5))


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ({}, "Received: 0 attacks and no images"),
        (
            {"a": (images(0), images(0), [])},
            "Received: 1 attacks and no images",
        ),
        (
            {"a": (images(2), images(1), [1, 2])},
            "Received: shapes [(2, 4, 5, 3), (1, 4, 5, 3), (2,)] for 'a'",
        ),
        (
            {"a": (images(2), images(2), [1])},
            "Received: shapes [(2, 4, 5, 3), (2, 4, 5, 3), (1,)] for 'a'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_an_error(cases, message):
    """No images, or arrays that do not belong together."""
    with pytest.raises(ValueError) as error:
        viz.worst_cases(cases)
    assert str(error.value).startswith("`cases` must hold ")
    assert str(error.value).endswith(message)
