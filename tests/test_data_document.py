"""docs/DATA.md: its commands, run on photographs in every format that it names."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.data.pictures import encoded
from tests.trainers.conftest import call
from tfrobust import data
from tfrobust.cli import data_record
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import read_evaluation

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "DATA.md"
SUFFIXES = (".png", ".jpg", ".webp", ".bmp", ".gif")
# Of these labels in CIFAR-10.
CLASSES = {"automobile": 1, "deer": 4, "horse": 7}
EACH = 30


def photographs() -> data.Dataset:
    """CIFAR-10 where it is at hand, or else drawn shapes."""
    beside = REPOSITORY.parent / "shared" / "tfds"
    folder = Path(os.environ.get("TFROBUST_DATA_DIR") or beside)
    if (folder / "cifar10_jpeg").is_dir():
        return data.load("cifar10_jpeg", "train[:1200]", folder)
    return data.make_shapes(400, seed=0)


def write_photographs(root: Path) -> None:
    """Three classes, in turn in every format and in sizes of their own."""
    whole = photographs()
    for name, label in CLASSES.items():
        (root / name).mkdir(parents=True)
        of_class = whole.images[whole.labels == label][:EACH]
        for number, image in enumerate(of_class):
            part = image[: 28 + number % 5, number % 3 :]
            suffix = SUFFIXES[number % len(SUFFIXES)]
            (root / name / f"{number}{suffix}").write_bytes(encoded(part, suffix))


def blocks(language: str) -> list[str]:
    text = DOCUMENT.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which every block ran, and what each command printed."""
    folder = tmp_path_factory.mktemp("data")
    write_photographs(folder / "photos")
    train, evaluate, export, arrays = blocks("sh")
    ask, save = blocks("python")
    printed = []
    here = os.getcwd()
    os.chdir(folder)
    try:
        for command in (train, evaluate, export):
            printed.append(run(command, folder))
        exec(compile(ask, DOCUMENT.name, "exec"), {})
        exec(compile(save, DOCUMENT.name, "exec"), {})
        printed.append(run(arrays, folder))
    finally:
        os.chdir(here)
    return folder, printed


def run(command: str, folder: Path) -> str:
    program, *words = shlex.split(command.replace("\\\n", " "))
    assert program == "tfrobust"
    ended = call("trainers", *words, cwd=folder)
    assert ended.code == 0, ended.err[-3000:]
    return ended.out


@pytest.fixture(scope="module")
def test_images(place):
    """The test images of the run, decoded anew in this process."""
    folder, _ = place
    return data.load(f"folder:{folder}/photos:size=32", "test")


@pytest.mark.slow
def test_the_run_says_what_it_was_tested_on(place, test_images):
    folder, printed = place
    record = json.loads((folder / "runs/photos/data.json").read_text())
    assert record["class_names"] == list(CLASSES)
    assert record["image_shape"] == [32, 32, 3]
    tested = record["splits"]["test"]
    assert tested["sha256"] == test_images.digest()
    assert tested["images"] == EACH * len(CLASSES) // 5 == len(tested["files"])
    assert all((folder / "photos" / file).is_file() for file in tested["files"])
    counts = [sum(f.startswith(name) for f in tested["files"]) for name in CLASSES]
    assert counts == [EACH // 5] * len(CLASSES)
    assert "on folder:photos:size=32" in printed[0]
    assert "80 train, 20 test; images (12, 10, 1), 2 classes" in printed[3]


@pytest.mark.slow
def test_the_evaluation_is_of_those_images(place, test_images):
    """Its accuracy is what the network, asked here, has."""
    folder, _ = place
    evaluation = read_evaluation(folder / "runs/photos_attacked")
    assert evaluation.about["dataset"] == "folder:photos:size=32"
    assert evaluation.about["class_names"] == list(CLASSES)
    served = tf.saved_model.load(str(folder / "runs/photos/saved_model/1"))
    pixels = tf.constant(test_images.images / np.float32(255))
    answer = served.signatures["serving_default"](images=pixels)
    right = answer["classes"].numpy() == test_images.labels
    (clean, *_) = evaluation.records.where("accuracy", split="test", attacked=None)
    assert clean.images == len(right)
    assert clean.estimate.value == pytest.approx(right.mean())
    page = (folder / "runs/photos_attacked/evaluation.html").read_text()
    assert "3: automobile, deer, horse" in page


@pytest.mark.slow
def test_what_is_served_calls_classes_by_their_folders(place, test_images):
    folder, _ = place
    version = folder / "served/photos/1"
    served = tf.saved_model.load(str(version))
    pixels = tf.constant(test_images.images / np.float32(255))
    answer = served.signatures["serving_default"](images=pixels)
    likely = np.argmax(answer["probabilities"], axis=1)
    expected = [list(CLASSES)[place].encode() for place in likely]
    assert answer["labels"].numpy().tolist() == expected
    text = (version / "assets.extra/model_card.json").read_text()
    card = json.loads(text)
    assert card["class_names"] == list(CLASSES)
    assert card["data"]["dataset"] == card["training"]["dataset"] == "photos"
    assert str(folder) not in text and "folder:" not in text


@pytest.mark.slow
def test_other_test_images_are_refused(place, tmp_path, monkeypatch):
    """By another seed, and by a file that is gone; another folder is other data."""
    folder, _ = place
    monkeypatch.chdir(folder)
    source = Path("runs/photos/model.keras")

    def check(name):
        data_record.check_tested(source, name, data.load(name, "test"))

    check("folder:photos:size=32")
    check("folder:photos:seed=0,size=32x32")
    with pytest.raises(UsageError) as caught:
        check("folder:photos:size=32,seed=1")
    assert str(caught.value) == (
        "--dataset=folder:photos:size=32,seed=1 has other test images than the run in "
        f"{folder}/runs/photos was tested on, some of which it may have been trained "
        "on: it had --dataset=folder:photos:size=32, with the test images of "
        f"{folder}/runs/photos/data.json."
    )
    monkeypatch.chdir(tmp_path)
    source = folder / "runs/photos/model.keras"
    with pytest.raises(UsageError, match="has other test images than the run in"):
        check(f"folder:{folder}/photos:size=32,seed=1")
    copied = tmp_path / "photos"
    shutil.copytree(folder / "photos", copied)
    tested = json.loads((folder / "runs/photos/data.json").read_text())["splits"][
        "test"
    ]["files"]
    (copied / tested[0]).unlink()
    check(f"folder:{copied}:size=32")
    # By the same name from here: the run's own folder, for all that is known.
    with pytest.raises(UsageError, match="has other test images than the run in"):
        check("folder:photos:size=32")
