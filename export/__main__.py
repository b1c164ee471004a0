"""Exports a Keras model for serving.

    tfrobust export --model=run/model.keras --out=served/NAME

Writes served/NAME/1, or the next free number: nothing that exists is replaced, and a
server can go back to an older version. docs/SERVING.md describes what is served. A
mistake in the arguments ends with exit code 2 and one sentence.

`python -m export` is the same program, unless the current folder holds an `export` of
its own: Python would run that one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from absl import flags

from export import limits
from tfrobust.cli import program
from tfrobust.cli.quiet import start_tensorflow

FLAGS = flags.FLAGS

QUANTIZED = ("float16", "dynamic_int8")


def _lists(values: Mapping[str, Any], *names: str) -> bool:
    """Whether one of these signatures is asked for; without a list all are."""
    return values["signatures"] is None or not {*names}.isdisjoint(values["signatures"])


# Flags that do nothing unless others have them act.
_NEEDS = (
    program.Need(("attack",), lambda v: _lists(v, "attack"),
                 "attack among the --signatures"),
    program.Need(("attack_norm", "attack_eps", "attack_steps"), lambda v: v["attack"],
                 "--attack"),
    program.Need(("smooth_alpha", "smooth_bandwidth", "smooth_iterations"),
                 lambda v: _lists(v, "smooth"), "smooth among the --signatures"),
    program.Need(("max_gradients",),
                 lambda v: _lists(v, "explain", "robustness", "attack"),
                 "explain, robustness or attack among the --signatures"),
    program.Need(("max_iterations",), lambda v: _lists(v, "robustness"),
                 "robustness among the --signatures"),
    program.Need(("dataset",), lambda v: v["quantize"], "--quantize"),
    program.Need(("data_dir", "examples"), lambda v: v["dataset"], "a --dataset"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Everything an export depends on; one field for each flag."""

    imports: list[str]
    model: str
    out: str
    class_names: list[str] | None
    signatures: list[str] | None
    fold: bool
    attack: bool
    attack_norm: str
    attack_eps: float
    attack_steps: int
    smooth_alpha: float
    smooth_bandwidth: float
    smooth_iterations: int | None
    max_batch: int
    max_gradients: int
    max_iterations: int
    overwrite: bool
    warmup: bool
    evaluation: str | None
    quantize: str | None
    dataset: str | None
    data_dir: str | None
    examples: int


def define_flags() -> None:
    """Defines every flag of `ExportConfig` on absl's `FLAGS`, once."""
    if "out" in FLAGS:
        return
    flags.DEFINE_string(
        "model",
        None,
        "What to export: a `.keras` file, the folder of a run, a SavedModel (or the "
        "folder of its versions: the newest) or pretrained:NAME.",
    )
    flags.DEFINE_multi_string(
        "import",
        [],
        "Module to import first, which registers Keras classes that the model has. "
        "Once for each.",
    )
    flags.DEFINE_string(
        "out", None, "Folder that holds the versions; its name is the served name."
    )
    flags.DEFINE_list(
        "class_names", None, "Names of the classes in order, separated by commas."
    )
    flags.DEFINE_list(
        "signatures",
        None,
        "What is served, with commas between. By default all that this model and its "
        "layers can have, but attack only with --attack.",
    )
    flags.DEFINE_bool(
        "fold", True, "Put spectral norms and batch norms into constant kernels."
    )
    flags.DEFINE_bool(
        "attack", False, "Serve PGD too, so that a red team need not have the model."
    )
    flags.DEFINE_enum("attack_norm", "2", ["2", "inf"], "Its norm.")
    flags.DEFINE_float("attack_eps", 0.5, "Its radius.")
    flags.DEFINE_integer("attack_steps", 20, "Its steps.")
    flags.DEFINE_float("smooth_alpha", 0.95, "How far smooth smooths, in [0, 1).")
    flags.DEFINE_float("smooth_bandwidth", 0.1, "Of its kernel on pixel values.")
    flags.DEFINE_integer(
        "smooth_iterations",
        None,
        "Steps of its solver; by default as many as leave at most 1e-4 of the error.",
    )
    flags.DEFINE_integer(
        "max_batch", limits.MAX_BATCH, "Images that a request may hold."
    )
    flags.DEFINE_integer(
        "max_gradients",
        limits.MAX_GRADIENTS,
        "Images that a request to explain, robustness or attack may hold.",
    )
    flags.DEFINE_integer(
        "max_iterations",
        limits.MAX_ITERATIONS,
        "Power iterations that a request may ask of robustness.",
    )
    flags.DEFINE_bool(
        "overwrite",
        False,
        "Let the new version lack signatures or tensors that clients "
        "of the newest one may ask for. No version is ever deleted or changed.",
    )
    flags.DEFINE_bool(
        "warmup", True, "Have a server answer each signature once before it serves it."
    )
    flags.DEFINE_string(
        "evaluation",
        None,
        "The evaluation.json that the model card takes its numbers "
        "from. By default one beside the model.",
    )
    flags.DEFINE_enum(
        "quantize",
        None,
        QUANTIZED,
        "Write a smaller TFLite file into the version "
        "too, and print what it costs in accuracy.",
    )
    flags.DEFINE_string(
        "dataset",
        None,
        "Data set on whose test images --quantize is measured; without "
        "one on generated images, which tell no accuracy.",
    )
    flags.DEFINE_string("data_dir", None, "Folder that holds prepared TFDS folders.")
    flags.DEFINE_integer(
        "examples", 1000, "How many test images; 0: all.", lower_bound=0
    )


def config_from_flags() -> ExportConfig:
    """The parsed flags; `UsageError` if one is missing or does nothing."""
    names = [field.name for field in dataclasses.fields(ExportConfig)]
    values: dict[str, Any] = {
        name: FLAGS["import" if name == "imports" else name].value for name in names
    }
    for name in ("model", "out"):
        if not (values[name] or "").strip():
            raise program.UsageError(f"--{name} must be given and not be empty.")
    program.refuse_idle_flags(_NEEDS, values)
    return ExportConfig(**values)


def main() -> None:
    """Exports what the flags say."""
    config = config_from_flags()
    # What can be refused without TensorFlow has been: it takes seconds to import.
    start_tensorflow()
    program.import_modules(config.imports)
    from export import command

    command.export(config)


def start() -> None:
    """Runs the program with the command line's flags."""
    define_flags()
    program.run(main, _help)


def _help() -> str:
    module = FLAGS.find_module_defining_flag("max_batch")
    # The first line is the path of this file.
    lines = FLAGS.module_help(module).strip().splitlines()[1:]
    return "\n".join([__doc__, *lines])


if __name__ == "__main__":
    start()
