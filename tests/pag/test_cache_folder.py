"""The files of a cache: damaged, missing, and on a disk that is full."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.pag.noise import CLASSES, COUNT, SHAPE
from tfrobust import pag
from tfrobust.pag.cache_folder import CacheFolder


def cut(folder):
    with (folder / "directions.npy").open("r+b") as file:
        file.truncate(200)


def of_other_type(folder):
    np.save(folder / "directions.npy", np.zeros((COUNT, CLASSES, *SHAPE)))


def uncounted(folder):
    state = json.loads((folder / "directions.json").read_text())
    del state["rows"]
    (folder / "directions.json").write_text(json.dumps(state))


def miscounted(folder):
    state = json.loads((folder / "directions.json").read_text())
    state["rows"] = COUNT + 1
    (folder / "directions.json").write_text(json.dumps(state))


def scribbled(folder):
    (folder / "directions.json").write_text("[1, ")


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (cut, "directions.npy"),
        (of_other_type, "directions.npy"),
        (uncounted, "directions.json"),
        (miscounted, "directions.json"),
        (scribbled, "directions.json"),
    ],
)
def test_a_damaged_cache_is_refused(teacher, images, whole, tmp_path, damage, name):
    """With the file that is to blame."""
    folder = shutil.copytree(whole, tmp_path / "copy")
    damage(folder)
    assert not pag.is_cache_complete(folder)
    with pytest.raises(ValueError) as caught:
        pag.cache_directions(teacher, images, folder)
    assert str(caught.value) == (
        f"`folder` must hold a whole cache, or none. Received: {folder}, whose {name} "
        "is damaged: remove the folder"
    )


def test_without_its_rows_a_cache_begins_anew(teacher, images, whole, tmp_path):
    """A count alone is worth nothing."""
    folder = shutil.copytree(whole, tmp_path / "copy")
    (folder / "directions.npy").unlink()
    assert not pag.is_cache_complete(folder)
    assert pag.cached_rows(teacher, images, folder) == 0
    rows = pag.cache_directions(teacher, images, folder, batch_size=4)
    np.testing.assert_array_equal(rows, np.load(whole / "directions.npy"))


def test_a_file_that_is_not_a_caches_stays(teacher, images, tmp_path):
    """An array of that name and nothing beside it is not replaced."""
    np.save(tmp_path / "directions.npy", np.ones(3))
    with pytest.raises(ValueError, match="which has one and no directions.json"):
        pag.cache_directions(teacher, images, tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "directions.npy"), np.ones(3))


def test_a_full_disk_is_refused_first(teacher, images, tmp_path, monkeypatch):
    """In a sentence with both sizes; a byte less than enough is too little."""
    needed = pag.cache_size(images, CLASSES)
    assert needed == 2 * COUNT * CLASSES * 6 * 5 * 2
    usage = shutil.disk_usage(tmp_path)
    for free, fits in ((needed - 1, False), (needed, True)):
        monkeypatch.setattr(
            shutil, "disk_usage", lambda _, free=free: usage._replace(free=free)
        )
        if fits:
            pag.cache_directions(teacher, images, tmp_path / str(free))
            continue
        with pytest.raises(ValueError) as caught:
            pag.cache_directions(teacher, images, tmp_path / str(free))
        assert str(caught.value) == (
            "`folder` must be on a disk with 0.00 GB free. Received: "
            f"{tmp_path / str(free)}, on one with 0.00 GB"
        )
        assert not list((tmp_path / str(free)).glob("*.npy*"))


def test_space_that_runs_out_while_it_is_taken_is_given_back(
    teacher, images, tmp_path, monkeypatch
):
    """What fails is an error, not a signal, and the next attempt starts afresh."""

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full, raising=False)
        with pytest.raises(OSError, match="No space left"):
            pag.cache_directions(teacher, images, tmp_path)
    assert not list(tmp_path.glob("*.npy*"))
    assert pag.cached_rows(teacher, images, tmp_path) == 0
    pag.cache_directions(teacher, images, tmp_path)


def test_the_lock_is_given_back(tmp_path):
    """After an error as well, or the next would wait for ever."""
    identity = {"teacher": "a", "data": "b", "shape": [2, 1, 1, 1, 1]}
    cache = CacheFolder(tmp_path / "new", identity)
    with pytest.raises(KeyboardInterrupt):
        with cache.alone():
            raise KeyboardInterrupt
    with cache.alone():
        cache.reserve()
    assert cache.finished() == 0 and cache.total == 2
    assert cache.rows().shape == (2, 1, 1, 1, 1) and not cache.rows().any()
