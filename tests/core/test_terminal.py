"""The width of a line of progress."""

import io
import os
import pty

import pytest

from tfrobust.core.terminal import columns


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("wide", "expected"),
    [(0, 79), (1, 79), (2, 1), (40, 39), (80, 79), (81, 80), (200, 80)],
)
def test_terminals(monkeypatch, wide, expected):
    """The last column is left free; 0 is what one says that does not know."""
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((wide, 9)))
    stream = Terminal()
    stream.fileno = lambda: 1
    assert columns(stream) == expected


def test_a_terminal_without_a_size_and_a_file(tmp_path):
    """One that is no file has none, and a new pseudo-terminal says 0."""
    assert columns(Terminal()) == 79
    with open(tmp_path / "log", "w") as file:
        assert columns(file) == 80
    assert columns(None) == 80
    ours, theirs = pty.openpty()
    with open(ours, "wb"), open(theirs, "w") as stream:
        assert columns(stream) == 79
