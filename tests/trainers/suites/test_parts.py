"""The bar that suites of `trainers.evaluate` share."""

import io
import re
import sys

from trainers.suites import parts as suite_parts


def test_a_bar_has_room_for_the_time_left(monkeypatch):
    """Behind the title, of which a long path's end is shown; 79 columns of 80."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    path = "runs/" + "a" * 90 + "/epochs/epoch-007.keras"
    assert list(suite_parts.bar([1, 2, 3], path)) == [1, 2, 3]
    shown = [line for line in stream.getvalue().split("\r") if "/3" in line]
    assert shown and all(line.startswith("...aaa") for line in shown)
    assert all("epoch-007.keras: " in line and len(line) <= 79 for line in shown)
    assert all(re.search(r" \d/3 \[\d\d:\d\d<[\d?:]+, ", line) for line in shown)
    list(suite_parts.bar([1], "short"))
    assert "\rshort:   0%" in stream.getvalue()


def test_a_bar_is_for_terminals(capsys):
    assert list(suite_parts.bar([1, 2, 3], "title")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")
