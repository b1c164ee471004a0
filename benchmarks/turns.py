"""Timing things in turn, so that a busy neighbour slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Run = Callable[[], Any]


def alternate(runs: Sequence[Run], rounds: int) -> np.ndarray:
    """Wall and CPU seconds, `[runs, rounds, 2]`; a first call of each traces graphs."""
    for run in runs:
        run()
    seconds = [[spent(run) for run in runs] for _ in range(rounds)]
    return np.swapaxes(np.array(seconds), 0, 1)


def spent(run: Run) -> tuple[float, float]:
    """Wall-clock seconds of a call, and its user and system time."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def rows(
    names: Sequence[str], seconds: np.ndarray, base: int = 0
) -> list[dict[str, Any]]:
    """Medians, and medians of each round's ratios to one of the runs.

    Args:
        names: Of the runs.
        seconds: From `alternate`; NaN where a run has no CPU time of its own.
        base: Which run the others are compared with.

    Returns:
        One row a run, for `reports.Report.table`: `wall_s`, `cpu_s`, `wall_ratio`,
        `cpu_ratio`, the standard errors of the mean ratio `wall_ratio_error` and
        `cpu_ratio_error`, and the number of `rounds`.
    """
    made = []
    for name, times in zip(names, seconds, strict=True):
        row: dict[str, Any] = {"name": name, "rounds": len(times)}
        ratios = times / seconds[base]
        for place, clock in enumerate(("wall", "cpu")):
            each = ratios[:, place]
            row[f"{clock}_s"] = float(np.median(times[:, place]))
            row[f"{clock}_ratio"] = float(np.median(each))
            row[f"{clock}_ratio_error"] = float(np.std(each) / np.sqrt(len(each)))
        made.append(row)
    return made
