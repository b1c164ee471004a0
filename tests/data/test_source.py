"""Names of files of one's own: what they may hold, and each mistake in a sentence."""

import math

import pytest

from tfrobust.data import source as names
from tfrobust.data.source import Source, is_source, parse


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("folder:a/b", ("a/b", {})),
        ("folder:/c:d/e", ("/c:d/e", {})),
        ("folder:a=b/c:d", ("a=b/c:d", {})),
        (
            "folder:a b:size=48x64,test=1/4,seed=7,channels=1,crop=true",
            (
                "a b",
                {
                    "size": (48, 64),
                    "test": 0.25,
                    "seed": 7,
                    "channels": 1,
                    "crop": True,
                },
            ),
        ),
        ("folder:a:size=9", ("a", {"size": (9, 9)})),
        ("folder:a:x:crop=false", ("a:x", {})),
    ],
)
def test_a_name_is_read(name, expected):
    path, settings = expected
    source = parse(name)
    assert source.path.as_posix() == path
    assert source == Source("folder", source.path, **settings)


def test_a_file_of_arrays_has_its_own_settings():
    source = parse("npz:x/digits.npz:test=0.5")
    assert (source.kind, source.path.name) == ("npz", "digits.npz")
    assert (source.test_share, source.split_seed) == (0.5, 0)
    assert parse("npz:x").test_share == 0.2


def test_home_is_a_place(monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice")
    assert parse("folder:~/photos").path.as_posix() == "/home/alice/photos"


FORM = "be folder:PATH, or folder:PATH:setting=value,... with settings"
SIZE = "have a `size` that is 64, or 48x64 for height x width"
SHARE = "have a `test` that is a share of the images, above 0 and below 1"
SETTINGS = "have settings among test, seed, size, channels, crop, classes, each once"


@pytest.mark.parametrize(
    ("name", "must"),
    [
        ("folder", FORM),
        ("folder:", FORM),
        ("folder:a:size=0", SIZE),
        ("folder:a:size=3x0", SIZE),
        ("folder:a:size=3x4x5", SIZE),
        ("folder:a:size=big", SIZE),
        ("folder:a:size=", SIZE),
        ("folder:a:test=0", SHARE),
        ("folder:a:test=1", SHARE),
        ("folder:a:test=1/0", SHARE),
        ("folder:a:test=nan", SHARE),
        ("folder:a:seed=-1", "have a `seed` that is an integer of at least 0"),
        ("folder:a:channels=2", "have a `channels` that is 1 or 3"),
        ("folder:a:channels=\u00b3", "have a `channels` that is 1 or 3"),
        ("folder:a:crop=yes", "have a `crop` that is true or false"),
        ("folder:a:classes=1", "have a `classes` that is an integer of at least 2"),
        ("folder:a:sise=3", SETTINGS),
        ("folder:a:size=3,size=3", SETTINGS),
        ("npz:a:size=3", "have settings among test, seed, each once"),
    ],
)
def test_a_malformed_name_is_refused(name, must):
    with pytest.raises(ValueError) as caught:
        parse(name)
    assert str(caught.value) == f"`name` must {must}. Received: {name}"


@pytest.mark.parametrize("name", ["cifar10", "cifar10:3.0.2", "folders:a", "shapes"])
def test_other_names_are_others(name):
    assert not is_source(name)


@pytest.mark.parametrize("share", [0.01, 0.2, 1 / 3, 0.5, 0.99])
@pytest.mark.parametrize("images", [2, 3, 10, 101])
def test_a_share_leaves_something_on_both_sides(images, share):
    count = names.test_count(images, share)
    assert 1 <= count < images
    if 1 <= images * share - 0.5 and images * share + 0.5 <= images - 1:
        assert math.isclose(count, images * share, abs_tol=0.5)
