"""`load`, `check` and `describe`: real data, and every refusal in full."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from tfrobust import data
from tfrobust.data import catalog

NAMES = (
    "`name` must be shapes, folder:PATH, npz:FILE, cifar10, cifar100, mnist, stl10, "
    "svhn_cropped or another"
)


def folder_with(name):
    """The folder of prepared data sets, or a skip that says what is missing."""
    beside = pathlib.Path(__file__).parents[3] / "shared" / "tfds"
    folder = pathlib.Path(os.environ.get("TFROBUST_DATA_DIR", beside))
    if not (folder / name).is_dir():
        pytest.skip(f"no prepared {name!r} in {folder}; set TFROBUST_DATA_DIR")
    return folder


@pytest.mark.slow
def test_mnist_is_the_real_one():
    """Sizes and label counts are those of the published files."""
    folder = folder_with("mnist")
    train, test = (data.load("mnist", split, folder) for split in ("train", "test"))
    assert train.images.shape == (60_000, 28, 28, 1)
    assert test.images.shape == (10_000, 28, 28, 1)
    assert np.bincount(train.labels).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert np.bincount(test.labels).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    assert test.class_names == tuple("0123456789")
    # The well-known mean of the training images.
    assert abs(train.images.mean() / 255 - 0.1307) < 1e-4


@pytest.mark.slow
def test_cifar10_jpeg_is_whole_and_balanced():
    """A folder that TFDS knows no name for loads offline, in stored order."""
    folder = folder_with("cifar10_jpeg")
    train, test = (
        data.load("cifar10_jpeg", split, folder, download=False)
        for split in ("train", "test")
    )
    assert train.images.shape == (50_000, 32, 32, 3)
    assert test.images.shape == (10_000, 32, 32, 3)
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert test.class_names[0] == "airplane" and test.class_names[9] == "truck"
    # The well-known means of the training images, red, green, blue. The encoding
    # shifts red and blue by 0.005; swapped channels would be off by 0.045.
    means = train.images.mean((0, 1, 2)) / 255
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=8e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "cifar10_jpeg"])
def test_nothing_is_printed_or_logged(name):
    """Not TFDS's warning about an attribute that it reads itself; in a process of its
    own, since it warns ten times and no more. Others' messages pass afterwards.
    """
    code = (
        "import logging, sys\n"
        "from tfrobust import data\n"
        "data.check(*sys.argv[1:], splits=['test'])\n"
        "data.describe(*sys.argv[1:])\n"
        "data.load(sys.argv[1], 'test', sys.argv[2])\n"
        "logging.getLogger('absl').warning('heard')\n"
        "assert not logging.getLogger('absl').filters\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, name, str(folder_with(name))],
        cwd=pathlib.Path(__file__).parents[2],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    # TensorFlow's own C++ says this whatever its level, before it reads the level.
    output = re.sub(
        r"(?m)^([IWE]\d{4} |WARNING: All log messages before ).*\n", "", ended.stderr
    )
    assert (ended.stdout, output) == ("", "WARNING:absl:heard\n")


def test_a_slice_is_the_beginning_of_its_split():
    """TFDS slices work and keep the stored order."""
    folder = folder_with("mnist")
    part = data.load("mnist", "test[:30]", folder)
    again = data.load("mnist", "test[10:30]", folder)
    np.testing.assert_array_equal(part.images[10:], again.images)
    np.testing.assert_array_equal(part.labels[10:], again.labels)


def test_describe_knows_prepared_data():
    """Sizes, shape and names come from the folder, without decoding."""
    info = data.describe("cifar10_jpeg", folder_with("cifar10_jpeg"))
    assert info.sizes == {"train": 50_000, "test": 10_000}
    assert (info.image_shape, info.classes) == ((32, 32, 3), 10)
    assert info.class_names[3] == "cat"


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("cifar10", (32, 32, 3), 10),
        ("cifar100", (32, 32, 3), 100),
        ("svhn_cropped", (32, 32, 3), 10),
        ("stl10", (96, 96, 3), 10),
        ("mnist", (28, 28, 1), 10),
    ],
)
def test_describe_knows_the_data_sets_named_in_the_guide(
    name, shape, classes, tmp_path
):
    """The five TFDS names fit the library before anything is downloaded."""
    info = data.describe(name, tmp_path)
    assert (info.image_shape, info.classes, info.sizes) == (shape, classes, {})


def test_describe_agrees_with_the_shapes_that_are_drawn():
    """The built-in set is described without drawing it."""
    info, test = data.describe("shapes"), data.load("shapes", "test")
    assert info.sizes["test"] == len(test)
    assert (info.image_shape, info.class_names) == (test.image_shape, test.class_names)


def test_the_newest_version_is_read(tmp_path):
    """Versions are compared as numbers: 1.10.0 is newer than 1.9.0."""
    mnist = folder_with("mnist") / "mnist" / "3.0.1"
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "1.10.0").symlink_to(mnist)
    (tmp_path / "digits" / "1.9.0").mkdir()
    (tmp_path / "digits" / "1.9.0" / "dataset_info.json").write_text("{}")
    assert data.describe("digits", tmp_path).sizes["test"] == 10_000


@pytest.mark.parametrize("function", [data.check, data.describe])
def test_unknown_names_are_refused(function, tmp_path):
    """The message lists the common names and those in the folder."""
    with pytest.raises(ValueError) as caught:
        function("imagenot")
    assert str(caught.value) == f"{NAMES} TFDS name. Received: name='imagenot'"
    with pytest.raises(ValueError) as caught:
        function("imagenot", tmp_path)
    assert str(caught.value) == (
        f"{NAMES} TFDS name or lie in {str(tmp_path)!r}, which holds no prepared data "
        "set. Received: name='imagenot'"
    )
    for name in ("b", "a"):
        (tmp_path / name / "1.0.0").mkdir(parents=True)
        (tmp_path / name / "1.0.0" / "dataset_info.json").write_text("{}")
    with pytest.raises(ValueError) as caught:
        function("imagenot", tmp_path)
    assert str(caught.value) == (
        f"{NAMES} TFDS name or lie in {str(tmp_path)!r}, which holds a, b. "
        "Received: name='imagenot'"
    )


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    """`load`, `check` and `describe` agree on the message, for every name."""
    missing = tmp_path / "missing"
    for name in ("shapes", "mnist"):
        for call in (
            lambda name=name: data.load(name, "test", missing),
            lambda name=name: data.check(name, missing),
            lambda name=name: data.describe(name, missing),
        ):
            with pytest.raises(ValueError) as caught:
                call()
            assert str(caught.value) == (
                f"`data_dir` must be an existing folder. "
                f"Received: data_dir={str(missing)!r}"
            )


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            "valid",
            "`split` must be one of train, test or a slice of one for 'mnist'. "
            "Received: split='valid'",
        ),
        (
            "train[",
            "`split` must be one of train, test or a slice of one for 'mnist'. "
            "Received: split='train['",
        ),
        (
            "test[:0]",
            "`split` must hold at least one example of 'mnist'. "
            "Received: split='test[:0]'",
        ),
    ],
)
def test_unknown_splits_are_refused(split, message):
    """`load` and `check` agree; a good split passes `check`."""
    folder = folder_with("mnist")
    data.check("mnist", folder, splits=("train", "test[:5%]"))
    for call in (
        lambda: data.load("mnist", split, folder),
        lambda: data.check("mnist", folder, splits=["train", split]),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == message


def test_unknown_splits_of_shapes_are_refused():
    """The built-in set has two splits."""
    data.check("shapes", splits=("train", "test"))
    for call in (
        lambda: data.load("shapes", "valid"),
        lambda: data.check("shapes", splits=["valid"]),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == (
            "`split` must be one of train, test for 'shapes'. Received: split='valid'"
        )


def test_data_that_is_not_there_is_refused_without_download(tmp_path):
    """With `download=False` nothing is fetched, and the message says what to do."""
    with pytest.raises(ValueError) as caught:
        data.load("cifar10", "test", tmp_path, download=False)
    place = str(tmp_path / "cifar10" / "3.0.2")
    assert str(caught.value) == (
        f"`download` must be True to get 'cifar10', which is not in {place!r}. "
        "Received: download=False"
    )


def test_a_version_that_tfds_lacks_is_refused():
    """TFDS's own error of another type does not get through."""
    with pytest.raises(ValueError) as caught:
        data.check("mnist:9.9.9")
    assert str(caught.value) == (
        "`name` must be a data set in a configuration and version that TFDS has. "
        "Received: name='mnist:9.9.9'"
    )


def test_data_that_is_no_image_classification_is_refused(tmp_path):
    """Images of varying size are refused before they are read."""
    with pytest.raises(ValueError) as caught:
        data.check("cats_vs_dogs", tmp_path)
    assert str(caught.value) == (
        "`name` must be a data set with an `image` of fixed size, 8 bits deep, and a "
        "class `label`. Received: name='cats_vs_dogs' with FeaturesDict({ 'image': "
        "Image(shape=(None, None, 3), dtype=uint8), 'image/filename': Text(shape=(), "
        "dtype=string), 'label': ClassLabel(shape=(), dtype=int64, num_classes=2), })"
    )


@pytest.fixture
def own(monkeypatch):
    """`own(train, test)`: registers a data set "own" for this test alone."""
    monkeypatch.setattr(catalog, "_OWN", {})

    def register(**parts):
        calls = []

        @data.register("own")
        def load(split):
            calls.append(split)
            if split not in parts:
                raise ValueError(f"`split` must be one of {', '.join(parts)}.")
            return parts[split]

        return calls

    return register


def small(count, side=3, names=("a", "b")):
    images = np.full((count, side, side, 1), count, np.uint8)
    return data.Dataset("own", images, np.arange(count) % 2, names)


def test_an_own_data_set_is_known_by_its_name(own):
    """It is loaded once for each split, whatever is called."""
    calls = own(train=small(5), test=small(3))
    data.check("own", splits=("train", "test"))
    info = data.describe("own")
    assert info == data.DatasetInfo(
        "own", {"train": 5, "test": 3}, (3, 3, 1), ("a", "b")
    )
    assert np.all(data.load("own", "test").images == 3)
    assert data.load("own", "train") is data.load("own", "train")
    assert sorted(calls) == ["test", "train"]


def test_a_split_that_an_own_data_set_lacks(own):
    own(train=small(5))
    for ask in (
        lambda: data.check("own", splits=("test",)),
        lambda: data.load("own", "test"),
    ):
        with pytest.raises(ValueError, match="`split` must be one of train"):
            ask()


@pytest.mark.parametrize(
    ("test", "received"),
    [
        (small(3, side=4), "image_shape. Received: (3, 3, 1) for train, (4, 4, 1)"),
        (small(3, names=("a", "c")), "class_names. Received: ('a', 'b') for train,"),
    ],
)
def test_splits_that_do_not_fit_each_other(own, test, received):
    own(train=small(5), test=test)
    with pytest.raises(ValueError) as caught:
        data.describe("own")
    assert received in str(caught.value)


def test_what_is_no_data_set_is_refused(own):
    own(train=small(5), test=[1, 2])
    with pytest.raises(ValueError) as caught:
        data.load("own", "test")
    assert str(caught.value) == (
        "The registered data set 'own' must return a `tfrobust.data.Dataset`. "
        "Received: a list for the split 'test'"
    )


@pytest.mark.parametrize("name", ["shapes", "own", "Own", "a:b", ""])
def test_names_of_own_data_sets(own, name):
    own(train=small(5))
    with pytest.raises(ValueError, match="The name of a registered data set must be "):
        data.register(name)


def test_a_function_that_takes_no_split_is_refused(own):
    own(train=small(5))
    with pytest.raises(ValueError, match="must take the name of a split. Received: 'x"):
        data.register("x")(lambda: small(5))
