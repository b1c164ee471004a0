"""Arrays in a file: each form that is taken, and each that is refused."""

import numpy as np
import pytest

from tfrobust.data.npz import read_npz
from tfrobust.data.source import parse

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 5, 4, 3), np.uint8)
LABELS = np.arange(12) % 3
WHOLE = {
    "x_train": IMAGES[:9],
    "y_train": LABELS[:9],
    "x_test": IMAGES[9:],
    "y_test": LABELS[9:],
}
PAIR = {"images": IMAGES, "labels": LABELS}


def read(folder, arrays, settings=""):
    np.savez(folder / "a.npz", **arrays)
    name = f"npz:{folder}/a.npz{settings}"
    return read_npz(name, parse(name))


def test_the_arrays_of_keras_datasets(tmp_path):
    """Kept in order; other arrays are not looked at."""
    parts = read(tmp_path, WHOLE | {"more": np.zeros(3)})
    for part, rows in (("train", slice(9)), ("test", slice(9, 12))):
        np.testing.assert_array_equal(parts[part].images, IMAGES[rows])
        np.testing.assert_array_equal(parts[part].labels, LABELS[rows])
        assert parts[part].class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    "labels",
    [
        LABELS[:, None].astype(np.uint8),
        np.eye(3)[LABELS],
        np.eye(3, dtype=bool)[LABELS],
        LABELS.astype(np.int16),
    ],
)
def test_labels_of_every_form(tmp_path, labels):
    arrays = WHOLE | {"y_train": labels[:9], "y_test": labels[9:]}
    parts = read(tmp_path, arrays)
    together = [*parts["train"].labels, *parts["test"].labels]
    assert together == LABELS.tolist() and parts["test"].classes == 3


def test_floats_are_rounded_to_the_nearest_level(tmp_path):
    """Exactly back where they were bytes; more than are turned at a time."""
    many = np.tile(IMAGES, (100, 1, 1, 1))
    for dtype in (np.float16, np.float32, np.float64):
        labels = np.tile(LABELS, 100)
        whole = {"x_train": (many / 255).astype(dtype), "y_train": labels}
        parts = read(tmp_path, WHOLE | whole | {"x_test": many / 255, "y_test": labels})
        np.testing.assert_array_equal(parts["train"].images, many)
    between = {"x_train": np.full((9, 5, 4, 3), 100.4 / 255)}
    assert (read(tmp_path, WHOLE | between)["train"].images == 100).all()


def test_grey_images_may_lack_the_channel(tmp_path):
    grey = {"x_train": IMAGES[:9, ..., 0], "x_test": IMAGES[9:, ..., 0]}
    parts = read(tmp_path, WHOLE | grey)
    assert parts["test"].image_shape == (5, 4, 1)
    np.testing.assert_array_equal(parts["train"].images[..., 0], IMAGES[:9, ..., 0])


def test_one_pair_is_split_by_class_and_seed(tmp_path):
    parts = read(tmp_path, PAIR, ":test=1/4,seed=2")
    assert np.bincount(parts["test"].labels).tolist() == [1, 1, 1]
    place = {image.tobytes(): i for i, image in enumerate(IMAGES)}
    places = {
        name: [place[image.tobytes()] for image in part.images]
        for name, part in parts.items()
    }
    assert sorted(places["train"] + places["test"]) == list(range(12))
    for name, part in parts.items():
        assert part.labels.tolist() == LABELS[places[name]].tolist()
    seeds = {
        tuple(read(tmp_path, PAIR, f":seed={s}")["test"].images.ravel())
        for s in range(4)
    }
    assert len(seeds) > 1


def test_class_names_go_along(tmp_path):
    names = np.array(["cat", "dog", "frog"])
    parts = read(tmp_path, PAIR | {"class_names": names})
    assert parts["train"].class_names == ("cat", "dog", "frog")


PIXELS = "have uint8 pixels, or floats in [0, 1], in x_train. Received: {0}, whose "
FORM = "have integer labels (N,) or (N, 1), or one-hot ones (N, K). Received: {0}, "
EACH = "have a training image of each of at least two classes. Received: {0}, with "
NAMES = "have different texts, one for each class, in class_names. Received: {0}, with "
SPLIT = "x_train, y_train, x_test, y_test"
MISTAKES = {
    "bytes as floats": (
        WHOLE | {"x_train": IMAGES[:9].astype(np.float32)},
        PIXELS + f"x_train is float32 from {IMAGES[:9].min()} to {IMAGES[:9].max()}",
    ),
    "normalised": (
        WHOLE | {"x_train": np.full((9, 5, 4, 3), -0.5)},
        PIXELS + "x_train is float64 from -0.5 to -0.5",
    ),
    "no number": (
        WHOLE | {"x_train": np.full((9, 5, 4, 3), np.nan)},
        PIXELS + "x_train is float64 from nan to nan",
    ),
    "integers": (
        WHOLE | {"x_train": np.ones((9, 5, 4, 3), np.int64)},
        PIXELS + "x_train is int64 from 1 to 1",
    ),
    "cut off": (
        WHOLE | {"x_train": (IMAGES[:9] > 9).astype(np.uint8)},
        "have pixels from 0 to 255 in x_train where these are uint8. Received: {0}, "
        "whose x_train has none above 1",
    ),
    "vectors": (
        WHOLE | {"x_train": IMAGES[:9].reshape(9, -1)},
        "have images (N, height, width) or (N, height, width, channels) in x_train. "
        "Received: {0}, whose x_train is (9, 60)",
    ),
    "too few labels": (
        WHOLE | {"y_train": LABELS[:8]},
        "have as many labels in y_train as images in x_train. Received: {0}, with 8 "
        "and 9",
    ),
    "float labels": (
        WHOLE | {"y_train": LABELS[:9] * 1.0},
        FORM + "whose y_train is float64 (9,)",
    ),
    "two labels": (
        WHOLE | {"y_train": np.ones((9, 3), int)},
        FORM + "whose y_train is int64 (9, 3)",
    ),
    "negative": (
        WHOLE | {"y_train": LABELS[:9] - 1},
        "have labels from 0 on. Received: {0}, whose y_train begins at -1",
    ),
    "from 1": (
        WHOLE | {"y_train": LABELS[:9] + 1, "y_test": LABELS[9:] + 1},
        EACH + "none of class 0",
    ),
    "only tested": (
        WHOLE | {"y_test": LABELS[9:] + 1},
        EACH + "none of class 3",
    ),
    "one class": (
        WHOLE | {"y_train": LABELS[:9] * 0, "y_test": LABELS[9:] * 0},
        EACH + "one class",
    ),
    "shapes": (
        WHOLE | {"x_test": IMAGES[9:, :, :3]},
        "have training and test images of one shape. Received: {0}, with (5, 4, 3) in "
        "x_train and (5, 3, 3) in x_test",
    ),
    "one-hot of two widths": (
        WHOLE | {"y_train": np.eye(3)[LABELS[:9]], "y_test": np.eye(4)[LABELS[9:]]},
        "have labels of 4 classes throughout. Received: {0}, with labels of 3, 4",
    ),
    "too few names": (
        WHOLE | {"class_names": np.array(["a", "b"])},
        "have labels of 2 classes throughout. Received: {0}, with labels of 3",
    ),
    "a name twice": (
        WHOLE | {"class_names": np.array(["a", "b", "a"])},
        NAMES + "<U1 (3,): a, b, a",
    ),
    "numbers for names": (
        WHOLE | {"class_names": np.arange(3)},
        NAMES + "int64 (3,): 0, 1, 2",
    ),
    "other arrays": (
        {"x": IMAGES, "labels": LABELS},
        f"lead to a file with {SPLIT}, or with images and labels. Received: "
        "{0}, which holds labels",
    ),
    "a lonely class": (
        {"images": IMAGES[:4], "labels": np.array([0, 0, 1, 0])},
        "have at least two images of each class, one to train on and one to test. "
        "Received: {0}, with 1 of class 1 in labels",
    ),
}


@pytest.mark.parametrize(("arrays", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path, arrays, said):
    with pytest.raises(ValueError) as caught:
        read(tmp_path, arrays)
    assert str(caught.value) == f"`name` must {said.format(tmp_path / 'a.npz')}"


def test_objects_are_not_loaded(tmp_path):
    """A pickle could run anything."""
    with pytest.raises(ValueError, match=r"must lead to an \.npz file of numbers"):
        read(tmp_path, PAIR | {"labels": np.array([object()] * 12)})


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut"])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    name = f"npz:{tmp_path}/a.npz"
    with pytest.raises(ValueError, match=r"must lead to an \.npz file of numbers"):
        read_npz(name, parse(name))


def test_a_single_array_is_no_archive(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    name = f"npz:{tmp_path}/a.npy"
    with pytest.raises(
        ValueError, match=r"must lead to an \.npz file .*a\.npy, which is none"
    ):
        read_npz(name, parse(name))


def test_a_broken_archive(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **WHOLE)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[200:260] = bytes(60)
    (tmp_path / "a.npz").write_bytes(content)
    name = f"npz:{tmp_path}/a.npz"
    with pytest.raises(ValueError, match=r"must lead to an \.npz file of numbers"):
        read_npz(name, parse(name))


def test_splits_of_its_own_leave_nothing_to_choose(tmp_path):
    with pytest.raises(ValueError, match="must leave `test` and `seed` out where the"):
        read(tmp_path, WHOLE, ":seed=3")


@pytest.mark.parametrize(("path", "problem"), [("", "is no file"), ("/no", "does not")])
def test_no_file(tmp_path, path, problem):
    name = f"npz:{tmp_path}{path}"
    with pytest.raises(ValueError, match=f"must lead to an existing file.*{problem}"):
        read_npz(name, parse(name))
