"""The data set of a program, and what is wrong with it in the words of its flag."""

import pytest

from tfrobust import data
from tfrobust.cli import datasets
from tfrobust.cli.program import UsageError


def test_a_data_set_is_described_and_loaded():
    """As by the library; an empty folder is none."""
    assert datasets.check("shapes", "") == data.describe("shapes")
    test = datasets.load("shapes", "test", "")
    assert (test.images == data.load("shapes", "test").images).all()


@pytest.mark.parametrize(
    "ask", [datasets.check, lambda *a: datasets.load(a[0], "test", a[1])]
)
def test_what_is_wrong_names_the_flag(ask, tmp_path):
    with pytest.raises(UsageError, match=r"--dataset=shapes.*: `data_dir` must be an "):
        ask("shapes", str(tmp_path / "none"))


def test_a_folder_that_cannot_be_read(monkeypatch):
    def load(*_):
        raise OSError("disk full")

    monkeypatch.setattr(data, "load", load)
    with pytest.raises(UsageError) as caught:
        datasets.load("mnist", "train", "here")
    assert str(caught.value) == "--dataset=mnist could not be loaded: disk full"
