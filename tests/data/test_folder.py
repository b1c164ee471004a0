"""A folder of class folders: what counts, what is passed over, what is refused."""

import shutil

import numpy as np
import pytest

from tests.data.pictures import fill
from tfrobust.data.folder import listing
from tfrobust.data.source import parse
from tfrobust.data.split import split


def listed(root, settings=""):
    return listing(parse(f"folder:{root}{settings}"))


def names_of(root, part):
    return [file.removeprefix(f"{root}/") for file in part.files]


def test_classes_are_folders_in_alphabetical_order(tmp_path):
    found = listed(fill(tmp_path, ("dog", "Cat", "10", "9"), count=2))
    assert found.class_names == ("10", "9", "Cat", "dog")
    for part in found.splits.values():
        folders = [name.split("/")[0] for name in names_of(tmp_path, part)]
        assert [found.class_names[label] for label in part.labels] == folders


def test_the_split_is_by_class_and_seed(tmp_path):
    fill(tmp_path, count=10)
    found = listed(tmp_path, ":test=0.3,seed=4")
    sizes = {name: np.bincount(p.labels).tolist() for name, p in found.splits.items()}
    assert sizes == {"train": [7, 7], "test": [3, 3]}
    keys = [f"{name}/{n}.png" for name in ("cat", "dog") for n in range(10)]
    _, test = split(keys, np.repeat([0, 1], 10), 0.3, 4)
    assert names_of(tmp_path, found.splits["test"]) == [keys[i] for i in test]
    other = listed(tmp_path, ":test=0.3,seed=5").splits["test"]
    assert set(other.files) != set(found.splits["test"].files)


def test_what_systems_leave_behind_is_passed_over(tmp_path):
    fill(tmp_path)
    clean = listed(tmp_path)
    for place in (tmp_path, tmp_path / "cat"):
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png"):
            (place / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "README.md").write_text("About these images.")
    assert listed(tmp_path).splits.keys() == clean.splits.keys()
    assert listed(tmp_path).stamp == clean.stamp


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "test"), {"train": 5, "test": 2}),
        (("train", "val"), {"train": 5, "test": 3}),
        (("train", "test", "val"), {"train": 5, "test": 2, "val": 3}),
    ],
)
def test_a_folder_may_have_splits(tmp_path, folders, splits):
    """With `val/` alone beside `train/`, it is what is tested on."""
    for name in folders:
        fill(tmp_path / name, count={"train": 5, "test": 2, "val": 3}[name])
    found = listed(tmp_path)
    assert {n: len(p.files) / 2 for n, p in found.splits.items()} == splits
    if "test" in folders:
        assert all("/test/" in file for file in found.splits["test"].files)


def test_a_class_may_lack_test_images(tmp_path):
    fill(tmp_path / "train", ("a", "b", "c"))
    fill(tmp_path / "test", ("a", "c"), count=2)
    found = listed(tmp_path)
    assert found.class_names == ("a", "b", "c")
    assert sorted(found.splits["test"].labels) == [0, 0, 2, 2]


def test_trains_may_be_a_class(tmp_path):
    assert listed(fill(tmp_path, ("bus", "train"))).class_names == ("bus", "train")


def add(name, content=b"x"):
    def change(root):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return change


def only_one(root):
    for number in range(1, 5):
        (root / "dog" / f"{number}.png").unlink()


def emptied(root):
    for file in (root / "dog").iterdir():
        file.unlink()


def with_splits(*folders):
    def change(root):
        for name in ("cat", "dog"):
            shutil.rmtree(root / name)
        for name in folders:
            fill(root / name, count=1)

    return change


def only_tested(root):
    with_splits("train", "test")(root)
    fill(root / "test", ("frog",), count=1)


MISTAKES = {
    "no folder": (
        shutil.rmtree,
        "lead to an existing folder. Received: {0}, which does not exist",
    ),
    "no classes": (
        lambda root: [shutil.rmtree(root / name) for name in ("cat", "dog")],
        "lead to a folder with a subfolder for each class. Received: {0}, which has no "
        "subfolder",
    ),
    "one class": (
        lambda root: shutil.rmtree(root / "dog"),
        "have a folder for each of at least two classes. Received: {0}, which has only "
        "cat",
    ),
    "an empty class": (
        emptied,
        "have an image in each class folder. Received: {0}/dog, which has none",
    ),
    "one image": (
        only_one,
        "have at least two images of each class, one to train on and one to test. "
        "Received: {0}/dog/0.png, the only one of its class",
    ),
    "no image": (
        add("cat/notes.txt"),
        "have nothing but images (.png, .jpg, .jpeg, .bmp, .webp, .gif) in its class "
        "folders. Received: {0}/cat/notes.txt",
    ),
    "nested": (
        add("cat/more/a.png"),
        "have images, and no folders, in its class folders. Received: {0}/cat/more, a "
        "folder",
    ),
    "loose": (
        add("a.png"),
        "have every image in the folder of its class. Received: {0}/a.png, which is in "
        "none",
    ),
    "alike": (
        lambda root: fill(root, ("Cat",)),
        "have classes whose names differ in more than upper and lower case. Received: "
        "{0}/Cat and {0}/cat",
    ),
    "dangling": (
        lambda root: (root / "cat" / "z.png").symlink_to(root / "nowhere"),
        "lead to images that can be read. Received: {0}/cat/z.png: No such file or "
        "directory",
    ),
    "only tested": (
        only_tested,
        "have every class in train/. Received: {0}/test/frog, a class that train/ "
        "lacks",
    ),
    "nothing to test": (
        with_splits("train"),
        "lead to a folder of classes, or one with train/, test/ or val/, and nothing "
        "else. Received: {0}, which has train/ with folders in it and neither beside "
        "it",
    ),
    "more than splits": (
        with_splits("train", "test", "extra"),
        "lead to a folder of classes, or one with train/, test/ or val/, and nothing "
        "else. Received: {0}, which has train/ with folders in it and extra/ beside it",
    ),
}


@pytest.mark.parametrize(("change", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path, change, said):
    root = fill(tmp_path / "photos")
    change(root)
    with pytest.raises(ValueError) as caught:
        listed(root)
    assert str(caught.value) == f"`name` must {said.format(root)}"


def numbered(root, *names):
    root.mkdir()
    for name in names:
        (root / name).write_bytes(b"x")
    (root / "README.md").write_text("About these images.")
    return root


def test_images_may_have_the_number_of_their_class_in_their_name(tmp_path):
    """All are test images, in the order of their names; most classes have none."""
    root = numbered(tmp_path / "a", "00_243.jpg", "01_0.png", "7.png", "b_c_999.webp")
    found = listed(root, ":classes=1000")
    assert found.splits.keys() == {"test"}
    test = found.splits["test"]
    assert names_of(root, test) == ["00_243.jpg", "01_0.png", "7.png", "b_c_999.webp"]
    assert test.labels.tolist() == [243, 0, 7, 999]
    assert found.class_names == tuple(map(str, range(1000)))


@pytest.mark.parametrize("name", ["cat.png", "0_10.png", "val_00000003.png", "3a.png"])
def test_an_image_without_a_class_is_refused(tmp_path, name):
    """No number, one too large, or the place of an image in a list."""
    root = numbered(tmp_path / "a", "1.png", name)
    with pytest.raises(ValueError) as caught:
        listed(root, ":classes=10")
    assert str(caught.value) == (
        "`name` must have images whose names end in a class from 0 to 9, such as "
        f"00_1.jpg. Received: {root}/{name}"
    )


def test_numbered_images_are_not_split(tmp_path):
    with pytest.raises(ValueError) as caught:
        listed(numbered(tmp_path / "a", "1.png"), ":classes=10,seed=1")
    assert str(caught.value) == (
        "`name` must leave `test` and `seed` out where `classes` is given, as all "
        f"images are tested on. Received: {tmp_path}/a with classes=10"
    )
    with pytest.raises(ValueError) as caught:
        listed(numbered(tmp_path / "b"), ":classes=10")
    assert str(caught.value) == (
        f"`name` must lead to a folder with images. Received: {tmp_path}/b, which has "
        "none"
    )


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(ValueError, match="a, which is a file$"):
        listed(tmp_path / "a")


def test_splits_of_its_own_leave_nothing_to_choose(tmp_path):
    for name in ("train", "test"):
        fill(tmp_path / name, count=1)
    with pytest.raises(ValueError) as caught:
        listed(tmp_path, ":test=0.5")
    assert str(caught.value) == (
        "`name` must leave `test` and `seed` out where the folder has splits of its "
        f"own. Received: {tmp_path}, which has test/ and train/"
    )
