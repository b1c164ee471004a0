"""Names of data sets as text, and that programs and the library read them alike."""

import pytest

from tfrobust.cli.dataset_names import is_own, path_of, short_name, with_size
from tfrobust.cli.program import UsageError
from tfrobust.data.source import parse


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("folder:photos", "64"),
        ("folder:a/b c:test=1/4", "48x64"),
        ("folder:/c:d/e", "9"),
        ("folder:/c:d/e:seed=1,crop=true", "9"),
    ],
)
def test_a_size_is_added_as_the_library_reads_it(name, size):
    """The rest stays, and the path is the same to both."""
    before, after = parse(name), parse(with_size(name, size))
    height, _, width = size.partition("x")
    assert after.size == (int(height), int(width or height))
    assert (after.path, after.test, after.seed, after.crop) == (
        before.path,
        before.test,
        before.seed,
        before.crop,
    )
    assert path_of(name) == path_of(with_size(name, size)) == before.path


def test_no_size_changes_nothing():
    assert with_size("cifar10", "") == "cifar10"


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        (
            "folder:a",
            "0",
            "--image_size=0 must be a number of pixels such as 64, or 48x64 for height "
            "x width.",
        ),
        (
            "folder:a",
            "3x4x5",
            "--image_size=3x4x5 must be a number of pixels such as 64, or 48x64 for "
            "height x width.",
        ),
        (
            "cifar10",
            "64",
            "--image_size needs a --dataset=folder:PATH, whose images are brought to "
            "it. Received: --dataset=cifar10",
        ),
        (
            "npz:a",
            "64",
            "--image_size needs a --dataset=folder:PATH, whose images are brought to "
            "it. Received: --dataset=npz:a",
        ),
        (
            "folder:a:test=0.1,size=3",
            "64",
            "--image_size=64 and --dataset=folder:a:test=0.1,size=3 both give a size.",
        ),
    ],
)
def test_a_size_that_cannot_be_added(name, size, said):
    with pytest.raises(UsageError) as caught:
        with_size(name, size)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("folder:/home/alice/photos:size=64", "photos"),
        ("folder:photos/", "photos"),
        ("npz:arrays/digits.npz:seed=2", "digits"),
        ("npz:digits", "digits"),
        ("folder:/", "data"),
        ("cifar10", "cifar10"),
        ("folder", "folder"),
    ],
)
def test_a_short_name_has_no_path(name, short):
    assert short_name(name) == short
    assert is_own(name) == (name != short)


def test_a_folder_by_a_dot_is_called_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")
    assert short_name("folder:.") == "photos"
