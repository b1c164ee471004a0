"""Files of one's own through the catalogue: read once, and again when they change."""

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import encoded, fill, picture
from tfrobust import data
from tfrobust.data import own


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that were decoded, in order."""
    files, read = [], own.read_images

    def counted(names, *rest):
        files.extend(names)
        return read(names, *rest)

    monkeypatch.setattr(own, "read_images", counted)
    return files


def test_a_folder_is_a_data_set(tmp_path):
    """Each image where its file's name says, with the label of its folder."""
    name = f"folder:{fill(tmp_path, ('cat', 'dog', 'frog'))}"
    info = data.describe(name)
    assert (info.sizes, info.image_shape) == ({"train": 12, "test": 3}, (12, 16, 3))
    assert (info.class_names, info.name) == (("cat", "dog", "frog"), name)
    for split in ("train", "test"):
        part = data.load(name, split)
        files = data.files_of(name, split)
        assert len(files) == len(part)
        for file, image, label in zip(files, part.images, part.labels, strict=True):
            folder, number = file.removesuffix(".png").split("/")
            assert info.class_names[label] == folder
            seed = 100 * info.class_names.index(folder) + int(number)
            np.testing.assert_array_equal(image, picture(seed))


def test_each_file_is_decoded_once_until_one_changes(tmp_path, decoded):
    name = f"folder:{fill(tmp_path)}"
    data.check(name, splits=("train", "test"))
    data.describe(name)
    train = data.load(name, "train")
    assert len(decoded) == 10 and data.load(name, "train") is train
    (tmp_path / "cat" / "0.png").write_bytes(encoded(picture(99, channels=1), ".png"))
    with pytest.raises(ValueError, match="must have only grey or only RGB images"):
        data.load(name, "test")


@pytest.mark.parametrize("path", [".", "../photos", "../photos/"])
def test_a_folder_by_a_relative_path(tmp_path, monkeypatch, path):
    fill(tmp_path / "photos")
    monkeypatch.chdir(tmp_path / "photos")
    files = data.files_of(f"folder:{path}", "test")
    assert files == data.files_of(f"folder:{tmp_path}/photos", "test")
    assert len(files) == 2 and all((tmp_path / "photos" / f).is_file() for f in files)
    assert len(data.load(f"folder:{path}", "test")) == 2


def test_arrays_in_fortrans_order_are_the_same_images(tmp_path):
    images = np.stack([picture(seed) for seed in range(10)])
    digests = []
    for order in "CF":
        file = tmp_path / f"{order}.npz"
        ordered = np.asarray(images, order=order)
        np.savez(file, images=ordered, labels=np.arange(10) % 2)
        digests.append(data.load(f"npz:{file}", "train").digest())
        rest = {"x_test": ordered[8:] // 2, "y_test": np.arange(2)}
        np.savez(file, x_train=ordered[:8], y_train=np.arange(8) % 2, **rest)
        digests.append(data.load(f"npz:{file}", "train").digest())
    assert digests[:2] == digests[2:]


def test_a_broken_header_is_found_before_anything_is_decoded(tmp_path, decoded):
    name = f"folder:{fill(tmp_path)}"
    (tmp_path / "dog" / "4.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"dog/4\.png, which is empty$"):
        data.check(name)
    assert not decoded


def test_a_file_of_arrays_is_a_data_set(tmp_path):
    images = np.stack([picture(seed) for seed in range(10)])
    file = tmp_path / "a.npz"
    np.savez(file, images=images, labels=np.arange(10) % 2)
    name = f"npz:{file}"
    assert data.describe(name).sizes == {"train": 8, "test": 2}
    assert data.load(name, "test") is data.load(name, "test")
    assert data.files_of(name, "test") == ()
    np.savez(file, images=images[:8], labels=np.arange(8) % 2)
    assert data.describe(name).sizes == {"train": 6, "test": 2}


@pytest.mark.parametrize(
    "ask",
    [
        lambda name: data.load(name, "val"),
        lambda name: data.check(name, splits=["val"]),
    ],
)
def test_a_split_that_is_not_there(tmp_path, ask):
    name = f"folder:{fill(tmp_path)}"
    with pytest.raises(ValueError) as caught:
        ask(name)
    assert str(caught.value) == (
        f"`split` must be one of train, test for {name!r}. Received: split='val'"
    )
    with pytest.raises(ValueError, match="must have a split 'val'"):
        data.files_of(name, "val")


def test_a_few_numbered_images_are_tested_on(tmp_path):
    """Twelve classes, two of them with an image; nothing to train on."""
    for seed, label in ((3, 11), (4, 2)):
        file = tmp_path / f"{seed}_{label}.png"
        file.write_bytes(encoded(picture(seed), ".png"))
    name = f"folder:{tmp_path}:classes=12"
    info = data.describe(name)
    assert (info.sizes, info.classes, info.image_shape) == (
        {"test": 2},
        12,
        (12, 16, 3),
    )
    test = data.load(name, "test")
    np.testing.assert_array_equal(test.images, [picture(3), picture(4)])
    assert test.labels.tolist() == [11, 2]
    assert data.files_of(name, "test") == ("3_11.png", "4_2.png")
    with pytest.raises(ValueError) as caught:
        data.check(name, splits=["train", "test"])
    assert str(caught.value) == (
        f"`split` must be one of test for {name!r}. Received: split='train'"
    )


def test_val_is_a_split_of_its_own_beside_test(tmp_path):
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        fill(tmp_path / split, count=count, seed=1000 * count)
    name = f"folder:{tmp_path}"
    assert data.describe(name).sizes == {"train": 6, "test": 2, "val": 4}
    assert set(data.files_of(name, "test")) == {"test/cat/0.png", "test/dog/0.png"}
    assert len(data.load(name, "val")) == 4


def test_copies_among_test_images_are_told(tmp_path, recwarn):
    name = f"folder:{fill(tmp_path)}"
    data.check(name)
    assert not recwarn.list
    train, test = (data.files_of(name, split) for split in ("train", "test"))
    (tmp_path / test[1]).write_bytes((tmp_path / train[0]).read_bytes())
    with pytest.warns(UserWarning) as caught:
        data.check(name)
    assert [str(each.message) for each in caught] == [
        f"1 of 2 test images of {name!r} are among its training images, pixel for "
        "pixel, the first at 1"
    ]


def test_photographs_to_be_turned_are_told(tmp_path):
    name = f"folder:{fill(tmp_path, suffix='.jpg')}"
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(picture(0), ".jpg", exif=exif)
    (tmp_path / "cat" / "3.jpg").write_bytes(content)
    with pytest.warns(UserWarning) as caught:
        data.check(name)
    assert [str(each.message) for each in caught] == [
        f"1 of 10 images of {name!r} are read as they are stored, not turned as the "
        f"camera noted (EXIF orientation), such as {tmp_path}/cat/3.jpg"
    ]


@pytest.mark.parametrize("name", ["folder", "npz"])
def test_their_names_are_taken(name):
    with pytest.raises(ValueError, match="must be new"):
        data.register(name)
