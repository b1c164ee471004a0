"""A run's `data.json`: what it says, and what it refuses later."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.data.pictures import fill
from tfrobust import data
from tfrobust.cli import data_record
from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import RunFolder


@pytest.fixture
def photos(tmp_path):
    """A folder of images, and its name."""
    return f"folder:{fill(tmp_path / 'photos')}"


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    run = RunFolder(tmp_path / "run")
    run.flags.touch()
    run.model.touch()
    return run


def splits_of(name):
    return {split: data.load(name, split) for split in ("train", "test")}


def test_it_says_what_was_trained_and_tested_on(photos, run, tmp_path):
    splits = splits_of(photos)
    data_record.write(run, data_record.describe(photos, splits))
    assert data_record.read(run) == json.loads((run.path / "data.json").read_text())
    assert data_record.read(run) == {
        "dataset": photos,
        "path": str(tmp_path / "photos"),
        "image_shape": [12, 16, 3],
        "class_names": ["cat", "dog"],
        "splits": {
            "train": {"images": 8, "sha256": splits["train"].digest()},
            "test": {
                "images": 2,
                "sha256": splits["test"].digest(),
                "files": list(data.files_of(photos, "test")),
            },
        },
    }


def test_what_has_no_record_says_nothing(run):
    assert data_record.read(None) == data_record.read(run) == {}
    for text in ("[1]", "{"):
        run.data.write_text(text)
        assert data_record.read(run) == {}
    shipped = Path("pretrained:mnist_c4")
    for source in (run.model, run.path / "none.keras", shipped):
        data_record.check_tested(source, "shapes", data.make_shapes(10, seed=0))


def test_a_run_goes_on_with_the_same_images_only(photos, run):
    record = data_record.describe(photos, splits_of(photos))
    data_record.check_resumed(run, record)
    data_record.write(run, record)
    data_record.check_resumed(run, record | {"path": "/moved"})
    other = data_record.describe(photos, splits_of(f"{photos}:seed=3"))
    with pytest.raises(UsageError) as caught:
        data_record.check_resumed(run, other)
    assert str(caught.value) == (
        f"--resume needs the images that the run in {run.path} began with, but those "
        f"of --dataset={photos} have changed since."
    )


def test_a_registered_data_set_must_test_on_the_same_images(run):
    """One whose function draws anew at each start would test on what it trained on."""
    splits = {"test": data.make_shapes(20, seed=0)}
    data_record.write(run, data_record.describe("drawn", splits))
    data_record.check_tested(run.model, "drawn", data.make_shapes(20, seed=0))
    data_record.check_tested(run.model, "another", data.make_shapes(20, seed=1))
    with pytest.raises(UsageError, match="--dataset=drawn has other test images than"):
        data_record.check_tested(run.model, "drawn", data.make_shapes(20, seed=1))


def test_a_run_is_cleared_of_the_record_of_the_one_before(run):
    run.begin([])
    run.data.write_text("{}")
    run.begin([], resume=True)
    assert run.data.exists()
    run.begin([])
    assert not run.data.exists()


def test_a_digest_is_of_images_labels_and_names():
    whole = data.make_shapes(10, seed=0)
    same = data.Dataset("other name", whole.images, whole.labels, whole.class_names)
    assert same.digest() == whole.digest()
    backwards = data.Dataset("a", whole.images[::-1], whole.labels, whole.class_names)
    labels = np.roll(whole.labels, 1)
    moved = data.Dataset("a", whole.images, labels, whole.class_names)
    renamed = data.Dataset("a", whole.images, whole.labels, tuple("abcdefghij"))
    digests = {d.digest() for d in (whole, backwards, moved, renamed, whole.take(9))}
    assert len(digests) == 5
