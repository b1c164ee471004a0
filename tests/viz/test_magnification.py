"""Pairs of rows, as it is and magnified, read back from the figure."""

import numpy as np
import pytest

from tfrobust import viz


def images(count, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((count, 4, 5, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_alternate(channels):
    """Each image over its own magnified one, each column under its title."""
    columns = {
        title: (images(2, channels, seed), images(2, channels, seed + 10))
        for seed, title in enumerate(["original", "FGSM", "PGD"])
    }
    figure = viz.magnified(columns)
    grid = np.array(figure.axes).reshape(4, 3)
    assert [axes.get_title() for axes in grid[0]] == list(columns)
    labels = [axes.get_ylabel() for axes in grid[:, 0]]
    assert labels == ["as it is", "magnified"] * 2
    for column, (plain, larger) in zip(grid.T, columns.values(), strict=True):
        for row, axes in enumerate(column):
            expected = (larger if row % 2 else plain)[row // 2]
            shown = np.asarray(axes.images[0].get_array()).reshape(expected.shape)
            np.testing.assert_allclose(shown, expected, atol=1e-7)
            assert axes.images[0].get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {},
            "`columns` must hold at least one image. Received: 0 columns and no images",
        ),
        (
            {"a": (images(0), images(0))},
            "`columns` must hold at least one image. Received: 1 columns and no images",
        ),
        (
            {"a": (images(2), images(2)), "b": (images(2), images(1))},
            "`columns` must hold arrays of one shape, (2, 4, 5, 3). "
            "Received: [(2, 4, 5, 3), (1, 4, 5, 3)] for 'b'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_an_error(columns, message):
    """Nothing, or shapes that differ."""
    with pytest.raises(ValueError) as error:
        viz.magnified(columns)
    assert str(error.value) == message
