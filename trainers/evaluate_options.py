"""The command line of `trainers.evaluate`, read into one object."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from absl import flags

from trainers.options import define
from trainers.program import UsageError

FLAGS = flags.FLAGS

SUITES = ("lcnn",)
NORMS = {"2": "L2", "inf": "Linf", "1": "L1"}

# Flags that say where results go, not what is computed.
_OUTSIDE_EVALUATION = ("out", "overwrite")


@dataclasses.dataclass(frozen=True, order=True)
class Eps:
    """The radius of an attack, and how the user wrote it, such as `8/255`."""

    value: float
    text: str

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Everything an evaluation depends on; one field for each flag.

    `eps` is rising and without repetitions; `name` is empty or as long as `model`.
    """

    suite: str
    model: tuple[str, ...]
    name: tuple[str, ...]
    dataset: str
    data_dir: str
    clean_examples: int
    examples: int
    geometry_examples: int
    eps: tuple[Eps, ...]
    norm: str
    steps: int
    restarts: int
    power_iterations: int
    seed: int
    batch_size: int
    out: str
    overwrite: bool

    @property
    def norm_name(self) -> str:
        """L1, L2 or Linf."""
        return NORMS[self.norm]


def define_flags() -> None:
    """Defines every flag of `EvaluateConfig` on absl's `FLAGS`, once."""
    if "suite" in FLAGS:
        return
    _define_models()
    _define_data()
    _define_attack()
    _define_geometry()
    _define_run()


def _define_models() -> None:
    define("Models", flags.DEFINE_multi_string, "model", [], "A .keras file, a"
            " SavedModel folder (or the folder of its versions: the newest), or the"
            " folder of a run of trainers.cifar. Once for each model.")  # fmt: skip
    define("Models", flags.DEFINE_multi_string, "name", [], "What to call a model;"
            " none, or one for each --model in the same order.")  # fmt: skip
    define("Models", flags.DEFINE_enum, "suite", SUITES[0], "What to measure: lcnn is"
            " tables 1 to 3 and figure 2 of the LCNN paper.",
            enum_values=list(SUITES))  # fmt: skip


def _define_data() -> None:
    define("Data", flags.DEFINE_string, "dataset", "cifar10", "Name of the data set,"
            " as for trainers.cifar.")  # fmt: skip
    define("Data", flags.DEFINE_string, "data_dir", "", "Folder that holds prepared"
            " TFDS folders. Empty: TFDS's own place; downloads.")  # fmt: skip
    define("Data", flags.DEFINE_integer, "clean_examples", 0, "Measure the clean"
            " accuracy on the first so many test images. 0: all.",
            lower_bound=0)  # fmt: skip
    define("Data", flags.DEFINE_integer, "examples", 500, "Attack so many test images,"
            " drawn by the seed and balanced over classes.", lower_bound=2)  # fmt: skip
    define("Data", flags.DEFINE_integer, "geometry_examples", 200, "Measure gradient"
            " and curvature on so many test and as many training images.",
            lower_bound=2)  # fmt: skip


def _define_attack() -> None:
    define("Attack", flags.DEFINE_multi_string, "eps", ["0.05,0.1,0.15,0.2"], "Radius"
            " of the attack in units of [0, 1]; fractions as 8/255 too. Several: give"
            " the flag again, also after a flagfile's, or commas.")  # fmt: skip
    define("Attack", flags.DEFINE_enum, "norm", "2", "Norm of the attack.",
            enum_values=list(NORMS))  # fmt: skip
    define("Attack", flags.DEFINE_integer, "steps", 20, "Steps of PGD.", lower_bound=1)
    define("Attack", flags.DEFINE_integer, "restarts", 1, "Random starts of PGD.",
            lower_bound=1)  # fmt: skip


def _define_geometry() -> None:
    define("Geometry", flags.DEFINE_integer, "power_iterations", 10, "Iterations for"
            " the norm of the Hessian.", lower_bound=1)  # fmt: skip


def _define_run() -> None:
    define("Run", flags.DEFINE_integer, "seed", 0, "Fixes the images drawn, the"
            " attack's starts and the noise.", lower_bound=0,
            upper_bound=2**31 - 1)  # fmt: skip
    define("Run", flags.DEFINE_integer, "batch_size", 100, "Images at a time; results"
            " do not depend on it beyond rounding.", lower_bound=1)  # fmt: skip
    define("Run", flags.DEFINE_string, "out", "", "Folder for the results. Empty:"
            " runs/evaluation-DATASET.")  # fmt: skip
    define("Run", flags.DEFINE_boolean, "overwrite", False, "Replace an evaluation"
            " that is in the folder.")  # fmt: skip


def config_from_flags() -> EvaluateConfig:
    """The parsed flags as an `EvaluateConfig`, with the default folder filled in.

    Raises `UsageError` where flags are wrong by themselves.
    """
    names = [field.name for field in dataclasses.fields(EvaluateConfig)]
    values: dict[str, Any] = {name: FLAGS[name].value for name in names}
    for name in ("model", "name"):
        values[name] = tuple(values[name] or ())
    values["eps"] = parse_eps(values["eps"] or ())
    values["out"] = values["out"] or str(
        pathlib.Path("runs") / f"evaluation-{values['dataset']}"
    )
    config = EvaluateConfig(**values)
    _check_names(config)
    return config


def parse_eps(texts: Sequence[str]) -> tuple[Eps, ...]:
    """Every radius in `texts`, rising, each once; `UsageError` if one is none.

    Args:
        texts: Numbers or fractions, each text several of them with commas between.
    """
    parts = [part.strip() for text in texts for part in text.split(",")]
    found = {(radius := _radius(part)): Eps(radius, part) for part in reversed(parts)}
    if not found:
        raise UsageError("--eps must be given at least one radius.")
    return tuple(sorted(found.values()))


def _radius(text: str) -> float:
    try:
        value = float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise UsageError(
            "--eps must be numbers of at least 0, such as 0.1 or 8/255, with commas "
            f"between. Received: {text!r}"
        )
    return value


def _check_names(config: EvaluateConfig) -> None:
    if not config.model:
        raise UsageError(
            "--model must be given at least once: a .keras file, a SavedModel folder "
            "or the folder of a run."
        )
    if config.name and len(config.name) != len(config.model):
        raise UsageError(
            f"--name must be given once for each of the {len(config.model)} models or "
            f"not at all. Received: {len(config.name)} names"
        )
    for name in config.name:
        if not name.strip() or config.name.count(name) > 1:
            raise UsageError(
                "--name must be a name of its own for each model. Received: "
                + ", ".join(map(repr, config.name))
            )


def flag_lines(config: EvaluateConfig) -> list[str]:
    """The lines of the flagfile that repeats an evaluation, without its folder."""
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in _OUTSIDE_EVALUATION:
            continue
        values = value if isinstance(value, tuple) else (value,)
        lines += [f"--{field.name}={each}" for each in values]
    return lines
