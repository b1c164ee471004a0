"""Figures as files."""

import matplotlib.image
import pytest
from matplotlib.figure import Figure

from tfrobust import viz


@pytest.fixture
def figure():
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [1, 0])
    return figure


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_format_follows_the_ending(figure, tmp_path, name, start):
    """png, svg and pdf, by path or by string; an older file is replaced."""
    (tmp_path / name).write_text("old")
    viz.save(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    viz.save(figure, f"{tmp_path}/again-{name}")
    assert (tmp_path / f"again-{name}").exists()


def test_dpi_sets_the_size(figure, tmp_path):
    """Twice the dots an inch, twice the pixels, up to the rounding of a tight frame."""
    sizes = []
    for dpi in (60, 120):
        viz.save(figure, tmp_path / "a.png", dpi=dpi)
        sizes.append(matplotlib.image.imread(tmp_path / "a.png").shape[0])
    assert sizes[1] == pytest.approx(2 * sizes[0], abs=2)


def test_no_such_folder(figure, tmp_path):
    """Folders are the caller's business."""
    with pytest.raises(FileNotFoundError):
        viz.save(figure, tmp_path / "none" / "a.png")


def test_no_such_format(figure, tmp_path):
    """matplotlib names the formats it knows; nothing is written."""
    with pytest.raises(ValueError, match="Format 'xyz' is not supported"):
        viz.save(figure, tmp_path / "a.xyz")
    assert list(tmp_path.iterdir()) == []
