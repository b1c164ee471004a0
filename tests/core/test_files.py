"""Writes that are interrupted, and those that are not."""

import os

import pytest

from tfrobust.core.files import partial_path, replacing


class Stop(BaseException):
    """Stands for a key press: no `Exception`."""


@pytest.fixture
def path(tmp_path):
    """A file with content from before."""
    path = tmp_path / "model.keras"
    path.write_text("old")
    return path


def names(path):
    return [entry.name for entry in path.parent.iterdir()]


@pytest.mark.parametrize("sync", [False, True])
def test_the_new_content_replaces_the_old(path, sync):
    with replacing(path, sync=sync) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial == partial_path(path) and partial.parent == path.parent
    assert path.read_text() == "new"
    assert names(path) == ["model.keras"]


def test_a_file_that_was_not_there_is_made(path):
    with replacing(str(path.with_name("other"))) as partial:
        partial.write_text("new")
    assert path.with_name("other").read_text() == "new"
    assert sorted(names(path)) == ["model.keras", "other"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, Stop])
@pytest.mark.parametrize("written", ["", "ne"])
def test_an_interrupted_write_leaves_the_old_file_whole(path, error, written):
    """And nothing beside it, whether it had begun or not."""
    with pytest.raises(error):
        with replacing(path) as partial:
            if written:
                partial.write_text(written)
            raise error
    assert path.read_text() == "old"
    assert names(path) == ["model.keras"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_at_its_end_leaves_the_old_file_whole(
    path, monkeypatch, call
):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            with replacing(path, sync=True) as partial:
                partial.write_text("new")
    assert path.read_text() == "old"
    assert names(path) == ["model.keras"]


def test_what_a_killed_process_left_is_no_part_of_the_next_write(path):
    partial_path(path).write_text("half of what was longer")
    with replacing(path) as partial:
        assert not partial.exists()
        with partial.open("a") as file:
            file.write("new")
    assert path.read_text() == "new"
    assert names(path) == ["model.keras"]


def test_content_is_on_the_disk_only_where_that_is_asked_for(path, monkeypatch):
    """Before the old file goes."""
    calls = []
    real = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda file: calls.append("fsync") or real[0](file)
    )
    monkeypatch.setattr(
        os, "replace", lambda *pair: calls.append("replace") or real[1](*pair)
    )
    for sync in (False, True):
        with replacing(path, sync=sync) as partial:
            partial.write_text("new")
    assert calls == ["replace", "fsync", "replace"]


def test_the_ending_stays():
    """Keras tells a format by it."""
    given = ("a/model.keras", "a/run", "a/.hidden", "a/x.tar.gz")
    assert [partial_path(one).as_posix() for one in given] == [
        "a/model.partial.keras",
        "a/run.partial",
        "a/.hidden.partial",
        "a/x.tar.partial.gz",
    ]


def test_a_folder_that_is_missing_is_no_success(tmp_path):
    with pytest.raises(FileNotFoundError):
        with replacing(tmp_path / "none" / "file") as partial:
            partial.write_text("new")
