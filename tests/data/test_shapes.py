"""`shapes`: seeded, balanced, whole, in contrast, and told apart by outline alone."""

import hashlib
import itertools

import numpy as np
import pytest

from tfrobust.data import load, make_shapes, shapes

LUMINANCE = np.array([0.299, 0.587, 0.114]) / 255


@pytest.fixture(scope="module")
def train():
    """Enough images to fit a small classifier."""
    return make_shapes(2500, seed=11)


@pytest.fixture(scope="module")
def held_out():
    """Other images to score it."""
    return make_shapes(1000, seed=12)


def least_squares_accuracy(train_features, train, test_features, test):
    """Held-out accuracy of a ridge-regularised linear classifier."""
    mean, scale = train_features.mean(0), train_features.std(0) + 1e-6
    x, y = (train_features - mean) / scale, np.eye(10)[train.labels] - 0.1
    ridge = 0.1 * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    guess = ((test_features - mean) / scale @ weights).argmax(1)
    return (guess == test.labels).mean()


def color_histogram(images):
    """16 bins a channel, and 16 of luminance, each image."""
    values = np.concatenate(
        [
            images.reshape(len(images), -1, 3),
            255 * (images @ LUMINANCE).reshape(len(images), -1, 1),
        ],
        axis=2,
    )
    bins = (values // 16).clip(0, 15).astype(np.uint8)
    return np.stack([(bins == level).mean(1) for level in range(16)], 1).reshape(
        len(images), -1
    )


def outline(image):
    """The shape's mask, centred and scaled to 16x16."""
    luminance = image @ LUMINANCE
    edge = np.concatenate(
        [luminance[0], luminance[-1], luminance[:, 0], luminance[:, -1]]
    )
    mask = np.abs(luminance - np.median(edge)) > 0.22
    rows, columns = np.nonzero(mask)
    # Quantiles rather than extremes: a noisy pixel far away must not count.
    top, bottom = np.quantile(rows, [0.01, 0.99])
    left, right = np.quantile(columns, [0.01, 0.99])
    row = np.rint(np.linspace(top, bottom, 16)).astype(int)
    column = np.rint(np.linspace(left, right, 16)).astype(int)
    return mask[np.ix_(row, column)].astype(float).ravel()


def test_the_seed_decides_everything():
    """One seed repeats every byte; another changes nearly all images."""
    first, again, other = (make_shapes(300, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.images != other.images).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("count", [1, 7, 300, 503])
def test_classes_are_balanced_and_types_right(count):
    """Class counts differ by at most one, across chunks of drawing too."""
    data = make_shapes(count, seed=0)
    assert data.images.shape == (count, 32, 32, 3) and data.images.dtype == np.uint8
    counts = np.bincount(data.labels, minlength=10)
    assert counts.sum() == count and counts.max() - counts.min() <= 1


def test_images_use_the_whole_range(train):
    """Pixel values reach both ends: nothing is scaled twice or clipped early."""
    assert train.images.min() == 0 and train.images.max() == 255
    assert 90 < train.images.mean() < 165


@pytest.mark.slow
def test_splits_have_their_sizes_and_no_image_in_common():
    """10,000 and 2,000 images, all different."""
    splits = {name: load("shapes", name) for name in ("train", "test")}
    assert {k: len(v) for k, v in splits.items()} == {"train": 10_000, "test": 2_000}
    digests = {
        hashlib.sha256(image.tobytes()).digest()
        for image in itertools.chain(*(part.images for part in splits.values()))
    }
    assert len(digests) == 12_000


def test_no_outline_reaches_over_the_border():
    """Every outline is empty beyond the reach that placing it allows for."""
    grid = np.linspace(-2, 2, 401, dtype=np.float32)
    far = np.hypot(*np.meshgrid(grid, grid)) > shapes._REACH
    for name, inside in shapes.OUTLINES.items():
        drawn = inside(grid[None, None, :], -grid[None, :, None])[0]
        assert 0.1 < drawn.sum() / (~far).sum() < 0.8, name
        assert not drawn[far].any(), name


def test_color_does_not_tell_the_class(train, held_out):
    """A linear classifier on colour histograms stays below 35 %."""
    parts = [color_histogram(part.images) for part in (train, held_out)]
    assert least_squares_accuracy(parts[0], train, parts[1], held_out) < 0.35


def test_place_does_not_tell_the_class(train, held_out):
    """A linear classifier on 8x8 pixels stays below 35 %."""
    parts = [
        part.images.reshape(-1, 8, 4, 8, 4, 3).mean((2, 4)).reshape(len(part), -1)
        for part in (train, held_out)
    ]
    assert least_squares_accuracy(parts[0], train, parts[1], held_out) < 0.35


def test_outline_does_tell_the_class(train, held_out):
    """Cut out by brightness and scaled to one size, shapes match their neighbours."""
    train_outlines = np.stack([outline(image) for image in train.images])
    outlines = np.stack([outline(image) for image in held_out.images[:400]])
    distance = (train_outlines**2).sum(1) - 2 * outlines @ train_outlines.T
    guess = train.labels[distance.argmin(1)]
    assert (guess == held_out.labels[:400]).mean() > 0.9


@pytest.mark.parametrize(
    ("count", "seed", "message"),
    [
        (0, 0, "`count` must be at least 1. Received: count=0"),
        (1, -1, "`seed` must not be negative. Received: seed=-1"),
    ],
)
def test_bad_arguments_are_refused(count, seed, message):
    """The messages give both ranges."""
    with pytest.raises(ValueError) as caught:
        make_shapes(count, seed)
    assert str(caught.value) == message
