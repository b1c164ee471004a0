"""The settings of an experiment in the plane, each a flag of `trainers.toy`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfrobust.cli import flags
from tfrobust.cli.flags import (
    Need,
    Settings,
    boolean,
    choice,
    integer,
    number,
    string,
)

# Each task, with the values of those flags that depend on it.
TASKS: dict[str, Mapping[str, float]] = {
    "two_moons": {"seeds": 3, "examples": 200, "noise": 0.2, "steps": 1000},
    "pag_lines": {"seeds": 5, "examples": 1000, "steps": 4700},
    "softplus": {},
}

_TRAINS = Need("a --task that trains", lambda v: TASKS[v["task"]])


def _defaults(name: str) -> str:
    """What a flag is where it is not given."""
    values = [
        f"{defaults[name]:g} for {task}"
        for task, defaults in TASKS.items()
        if name in defaults
    ]
    return f"None: {', '.join(values)}."


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Task(Settings, title="Task"):
    """What to do."""

    task: str = choice("two_moons", tuple(TASKS), "What to do.")
    seeds: int = integer(
        None,
        "Trainings of each network, each from weights and on points of its own. "
        + _defaults("seeds"),
        at_least=1,
        needs=_TRAINS,
    )
    seed: int = integer(
        0,
        "Seed of the first training; the next ones count up.",
        at_most=2**31 - 1,
        needs=_TRAINS,
    )
    examples: int = integer(
        None,
        "Points to train on; with pag_lines, around each of its six modes. "
        + _defaults("examples"),
        at_least=4,
        needs=_TRAINS,
    )
    noise: float = number(
        None,
        "Standard deviation of the points around their moon of radius 1. "
        + _defaults("noise"),
        at_most=1.0,
        needs=Need("--task=two_moons", lambda v: "noise" in TASKS[v["task"]]),
    )
    steps: int = integer(
        None,
        f"Steps of Adam, its rate falling to 0 along a cosine. {_defaults('steps')}",
        at_least=1,
        needs=_TRAINS,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig(_Task):
    """Everything an experiment depends on; a field is a flag."""

    out: str = string("", "Folder for the results. Empty: runs/TASK.")
    overwrite: bool = boolean(
        False, "Replace the results of an earlier run in the folder."
    )


def define_flags() -> None:
    """Defines every flag of `ToyConfig` on absl's `FLAGS`, once."""
    flags.define(ToyConfig)


def config_from_flags() -> ToyConfig:
    """The parsed flags, those left out filled in with the task's values."""
    config = flags.read(ToyConfig)
    values: dict[str, Any] = {
        name: TASKS[config.task].get(name, 0)
        for name in ("seeds", "examples", "noise", "steps")
        if getattr(config, name) is None
    }
    return dataclasses.replace(config, **values)
