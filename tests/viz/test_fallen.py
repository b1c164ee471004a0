"""Images, what became of them, and the change, read back from the figure."""

import numpy as np
import pytest

from tfrobust import viz


def images(count, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.1, 0.9, (count, 4, 5, channels)).astype(np.float32)


def pixels(axes):
    return np.asarray(axes.images[0].get_array(), np.float64).reshape(4, 5, -1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_column_shows_an_image_and_what_became_of_it(channels):
    clean, attacked = images(3, channels), images(3, channels, seed=1)
    attacked[2] = clean[2]
    truth, answers, notes = (list(word) for word in ("abc", "def", "xyz"))
    figure = viz.fallen_images(clean, attacked, truth, answers, notes)
    grid = np.array(figure.axes).reshape(3, 3)
    for place, column in enumerate(grid.T):
        np.testing.assert_allclose(pixels(column[0]), clean[place], atol=1e-7)
        np.testing.assert_allclose(pixels(column[1]), attacked[place], atol=1e-7)
        change = attacked[place].astype(np.float64) - clean[place]
        largest = np.abs(change).max()
        scale = 2 * largest if largest else 1.0
        shown = scale * (pixels(column[2]) - 0.5)
        np.testing.assert_allclose(shown, change, atol=1e-7)
        below = [axes.get_xlabel() for axes in column]
        assert below == [truth[place], answers[place], f"up to {255 * largest:.3g}/255"]
        assert column[0].get_title() == notes[place]


@pytest.mark.parametrize(
    ("clean", "attacked", "truth", "answers", "notes"),
    [
        (images(0), images(0), [], [], None),
        (images(2), images(1), ["a"] * 2, ["b"] * 2, None),
        (images(2), images(2), ["a"], ["b"] * 2, None),
        (images(2), images(2), ["a"] * 2, ["b"] * 3, None),
        (images(2), images(2), ["a"] * 2, ["b"] * 2, ["c"]),
    ],
)
def test_what_does_not_fit_is_an_error(clean, attacked, truth, answers, notes):
    with pytest.raises(ValueError, match="`images` and `adversarial` must have one"):
        viz.fallen_images(clean, attacked, truth, answers, notes)
