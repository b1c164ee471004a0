"""The command line of `trainers.toy`, read into one object."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from absl import flags

from trainers.options import define
from trainers.program import UsageError

FLAGS = flags.FLAGS

# Each task, with the values of those flags that it has and that depend on it.
TASKS: dict[str, Mapping[str, float]] = {
    "two_moons": {"seeds": 3, "examples": 200, "noise": 0.2, "steps": 1000},
    "pag_lines": {"seeds": 5, "examples": 1000, "steps": 4700},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Everything an experiment depends on; one field for each flag.

    Settings that a task does not have are 0.
    """

    task: str
    seeds: int
    seed: int
    examples: int
    noise: float
    steps: int
    out: str
    overwrite: bool


def define_flags() -> None:
    """Defines every flag of `ToyConfig` on absl's `FLAGS`, once."""
    if "task" in FLAGS:
        return
    define("Task", flags.DEFINE_enum, "task", "two_moons", "What to do.",
            enum_values=list(TASKS))  # fmt: skip
    define("Task", flags.DEFINE_integer, "seeds", None, "Trainings of each network,"
            f" each from weights and on points of its own. {_defaults('seeds')}",
            lower_bound=1)  # fmt: skip
    define("Task", flags.DEFINE_integer, "seed", 0, "Seed of the first training; the"
            " next ones count up.", lower_bound=0, upper_bound=2**31 - 1)  # fmt: skip
    define("Task", flags.DEFINE_integer, "examples", None, "Points to train on; with"
            f" pag_lines, around each of its six modes. {_defaults('examples')}",
            lower_bound=4)  # fmt: skip
    define("Task", flags.DEFINE_float, "noise", None, "Standard deviation of the"
            f" points around their moon of radius 1. {_defaults('noise')}",
            lower_bound=0.0, upper_bound=1.0)  # fmt: skip
    define("Task", flags.DEFINE_integer, "steps", None, "Steps of Adam, its rate"
            f" falling to 0 along a cosine. {_defaults('steps')}",
            lower_bound=1)  # fmt: skip
    define("Run", flags.DEFINE_string, "out", "", "Folder for the results. Empty:"
            " runs/TASK.")  # fmt: skip
    define("Run", flags.DEFINE_boolean, "overwrite", False, "Replace the results of"
            " an earlier run in the folder.")  # fmt: skip


def _defaults(name: str) -> str:
    """What a flag is where it is not given."""
    values = [
        f"{defaults[name]:g} for {task}"
        for task, defaults in TASKS.items()
        if name in defaults
    ]
    return f"None: {', '.join(values)}."


def config_from_flags() -> ToyConfig:
    """The parsed flags, those left out filled in with the task's values."""
    names = [field.name for field in dataclasses.fields(ToyConfig)]
    values: dict[str, Any] = {name: FLAGS[name].value for name in names}
    defaults = TASKS[values["task"]]
    for name, value in values.items():
        if value is None:
            values[name] = defaults.get(name, 0)
        elif FLAGS[name].default is None and name not in defaults:
            raise UsageError(f"--{name} has no meaning with --task={values['task']}.")
    config = ToyConfig(**values)
    if not 0 <= config.noise <= 1:  # NaN is neither below nor above a flag's bounds.
        raise UsageError(f"--noise={config.noise} must be a number from 0 to 1.")
    return config
