"""Training on files of one's own: what is refused before it starts, and `val/`."""

import numpy as np
import pytest

from tests.data.pictures import encoded, fill, picture
from tfrobust import data
from tfrobust.cli.program import UsageError
from trainers.train import build

MLP = ("--model=mlp", "--batch_size=4")


@pytest.fixture
def photos(tmp_path):
    return fill(tmp_path / "photos", ("cat", "dog", "frog"))


def test_a_dry_run_says_what_there_is(cifar, photos):
    ended = cifar(f"--dataset=folder:{photos}", *MLP, "--dry_run")
    assert ended.code == 0, ended.err
    words = " ".join(ended.out.split())
    assert "12 train, 3 test; images (12, 16, 3), 3 classes; trains on 12" in words
    assert "writes runs/photos-mlp-standard-0 (nothing yet" in words


@pytest.mark.parametrize(("size", "channels"), [("9x7", 1), ("20", 3)])
def test_networks_are_built_for_the_images(cifar, photos, size, channels):
    name = f"folder:{photos}:channels={channels}"
    ended = cifar(f"--dataset={name}", f"--image_size={size}", *MLP, "--dry_run")
    height, _, width = size.partition("x")
    shape = f"images ({height}, {width or height}, {channels}), 3 classes"
    assert shape in " ".join(ended.out.split())


def test_one_name_says_all_of_the_data(parse, photos):
    """So that the flagfile of the run and whoever reads it need no second flag."""
    config = parse(f"--dataset=folder:{photos}", "--image_size=8")
    assert config.dataset == f"folder:{photos}:size=8" and config.image_size == ""


def test_a_network_that_images_are_too_small_for(cifar, photos):
    ended = cifar(f"--dataset=folder:{photos}", *MLP, "--model=vgg11", "--dry_run")
    assert "--model=vgg11 does not fit --dataset=folder:" in ended.error


def broken(root):
    (root / "dog" / "3.png").write_bytes(encoded(picture(0), ".png")[:-40])


def emptied(root):
    (root / "dog" / "3.png").write_bytes(b"")


def larger(root):
    (root / "dog" / "3.png").write_bytes(encoded(picture(0, width=17), ".png"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (broken, "lead to images that can be decoded. Received: {0}, which is broken"),
        (emptied, "lead to images that can be read. Received: {0}, which is empty"),
        (larger, "have images of one size, or a setting such as size=64 or size=48x64"),
    ],
)
def test_a_bad_image_stops_it_before_it_starts(cifar, photos, tmp_path, change, said):
    """In one sentence that names the file; nothing is written."""
    change(photos)
    workdir = tmp_path / "run"
    ended = cifar(f"--dataset=folder:{photos}", *MLP, f"--workdir={workdir}")
    assert "`name` must " + said.format(photos / "dog/3.png") in ended.error
    assert ended.error.startswith(f"--dataset=folder:{photos}: ")
    assert "dog/3.png" in ended.error and not workdir.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--dataset=folder:"], "must be folder:PATH, or folder:PATH:setting=value"),
        (["--dataset=folder:nowhere"], "Received: nowhere, which does not exist"),
        (["--dataset=npz:nowhere"], "Received: nowhere, which does not exist"),
        (["--image_size=64"], "--image_size needs a --dataset=folder:PATH"),
        (["--dataset=folder:a", "--image_size=a"], "--image_size=a must be a number"),
    ],
)
def test_a_name_that_is_none(cifar, flags, said):
    assert said in cifar(*flags, *MLP, "--dry_run").error


def test_arrays_in_a_file(cifar, tmp_path):
    images = np.stack([picture(seed, channels=1) for seed in range(20)])
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(20) % 2)
    ended = cifar(f"--dataset=npz:{tmp_path}/a.npz", *MLP, "--dry_run")
    words = " ".join(ended.out.split())
    assert "16 train, 4 test; images (12, 16, 1), 2 classes" in words
    assert "writes runs/a-mlp-standard-0 (nothing yet" in words


@pytest.fixture
def with_val(tmp_path):
    for split, count in (("train", 6), ("val", 4), ("test", 2)):
        fill(tmp_path / "photos" / split, count=count, seed=1000 * count)
    return f"folder:{tmp_path}/photos"


def test_val_is_watched_in_place_of_training_images(parse, with_val):
    """All of `train/` is trained on; without --watch_robust nobody looks at `val/`."""
    flags = (f"--dataset={with_val}", *MLP)
    watched = build.load_data(parse(*flags, "--watch_robust=6"))
    assert (len(watched.train), len(watched.test)) == (12, 4)
    assert np.bincount(watched.held_out.labels).tolist() == [3, 3]
    val = {image.tobytes() for image in data.load(with_val, "val").images}
    assert {image.tobytes() for image in watched.held_out.images} <= val
    assert set(watched.record["splits"]) == {"train", "test", "val"}
    assert len(build.load_data(parse(*flags, "--watch_robust=8")).held_out) == 8
    assert build.load_data(parse(*flags)).held_out is None
    fewer = parse(*flags, "--train_examples=4", "--watch_robust=8")
    assert len(build.load_data(fewer).train) == 4


def test_no_more_is_watched_than_val_has(parse, cifar, with_val):
    flags = (f"--dataset={with_val}", *MLP)
    with pytest.raises(UsageError) as caught:
        build.check_data(parse(*flags, "--watch_robust=9"))
    assert str(caught.value) == (
        f"--watch_robust=9 is more than the 8 images in val/ of {with_val}."
    )
    words = " ".join(cifar(*flags, "--watch_robust=8", "--dry_run").out.split())
    assert "trains on 12, augmented by crop_flip; 8 of val/ are attacked" in words


@pytest.mark.slow
def test_it_trains_on_several_devices_and_goes_on(call_module, photos, tmp_path):
    """Reading images must not start the devices before they are set up."""
    flags = (
        f"--dataset=folder:{photos}",
        "--image_size=12x10",
        *MLP,
        "--width=4",
        "--distribute=mirrored",
        "--logical_cpus=2",
        f"--workdir={tmp_path}/run",
        "--watch_robust=2",
        "--epochs=1",
    )
    ended = call_module("trainers.cifar", *flags)
    assert ended.code == 0, ended.err[-3000:]
    run = tmp_path / "run"
    (run / "summary.json").unlink()
    (photos / "cat" / "9.png").write_bytes(encoded(picture(9), ".png"))
    again = call_module("trainers.cifar", *flags, "--resume")
    assert again.error == (
        f"--resume needs the images that the run in {run} began with, but those of "
        f"--dataset=folder:{photos}:size=12x10 have changed since."
    )
