"""Rows of a table from seconds, against figures worked out by hand."""

import math

import numpy as np
import pytest

from benchmarks import turns


def test_medians_and_ratios_of_each_round():
    """The base was slow in round 2 and so was the other: its ratio stays 2."""
    base = [[1.0, 2.0], [4.0, 3.0], [1.5, 4.0]]
    other = [[2.0, 2.0], [8.0, 6.0], [3.0, 12.0]]
    first, second = turns.rows(["base", "other"], np.array([base, other]))
    assert (first["name"], first["wall_s"], first["cpu_s"]) == ("base", 1.5, 3.0)
    assert (first["wall_ratio"], first["cpu_ratio_error"]) == (1.0, 0.0)
    assert (second["wall_s"], second["wall_ratio"]) == (3.0, 2.0)
    assert second["wall_ratio_error"] == 0.0
    # CPU ratios 1, 2 and 3: median 2, standard deviation sqrt(2/3), over sqrt(3).
    assert second["cpu_ratio"] == 2.0
    assert second["cpu_ratio_error"] == pytest.approx(math.sqrt(2) / 3)
    assert second["rounds"] == 3


def test_another_base():
    seconds = np.array([[[1.0, 1.0]], [[2.0, 4.0]]])
    first, second = turns.rows(["a", "b"], seconds, base=1)
    assert (first["wall_ratio"], first["cpu_ratio"]) == (0.5, 0.25)
    assert (second["wall_ratio"], second["cpu_ratio"]) == (1.0, 1.0)


def test_runs_take_turns_after_a_first_call_that_is_not_timed():
    calls = []
    runs = [lambda: calls.append("a"), lambda: calls.append("b")]
    seconds = turns.alternate(runs, rounds=2)
    assert calls == ["a", "b"] * 3
    assert seconds.shape == (2, 2, 2) and (seconds >= 0).all()
