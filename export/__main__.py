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
from typing import Any

from export import limits
from tfrobust.cli import flags, program
from tfrobust.cli.flags import (
    Need,
    Settings,
    boolean,
    choice,
    grouped_help,
    integer,
    number,
    several,
    string,
)
from tfrobust.cli.program import UsageError
from tfrobust.cli.quiet import start_tensorflow

QUANTIZED = ("off", "float16", "dynamic_int8")


def _served(*signatures: str) -> Need:
    """That one of these signatures is asked for; without a list all are."""

    def met(values: Any) -> bool:
        asked = _names(values["signatures"])
        return asked is None or not {*signatures}.isdisjoint(asked)

    *first, last = signatures
    words = f"{', '.join(first)} or {last}" if first else last
    return Need(f"{words} among the --signatures", met)


def _names(text: str) -> tuple[str, ...] | None:
    """What stands between the commas; `None` of an empty text."""
    return tuple(part.strip() for part in text.split(",")) if text else None


_ATTACK = Need("--attack", lambda v: v["attack"])
_MEASURED = Need("--quantize", lambda v: v["quantize"] != "off")
_DATASET = Need("a --dataset", lambda v: v["dataset"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Model(Settings, title="Model"):
    """What is exported."""

    model: str = string(
        "",
        "What to export: a `.keras` file, the folder of a run, a SavedModel (or the "
        "folder of its versions: the newest), pretrained:NAME or "
        "robustbench:FILE:ARCHITECTURE.",
    )
    imports: tuple[str, ...] = several(
        "Module to import first, which registers Keras classes that the model has, or "
        "a signature (export.signatures.register). Once for each.",
        flag="import",
    )
    out: str = string(
        "", "Folder that holds the versions; its name is the served name."
    )
    class_names: str = string(
        "",
        "Names of the classes in order, separated by commas. Empty: those of the run "
        "or SavedModel, where it has them.",
    )
    output: str = string(
        "",
        "Which of several outputs of the network is served, by its name. Empty: the "
        "one named logits.",
    )
    bounds: str = string(
        "",
        "Least and largest value of a pixel as the network takes it: 0,255 or -1,1. "
        "Empty: what its first layers say, else 0,1.",
    )
    fold: bool = boolean(
        True, "Put spectral norms and batch norms into constant kernels."
    )
    warmup: bool = boolean(
        True, "Have a server answer each signature once before it serves it."
    )
    evaluation: str = string(
        "",
        "The evaluation.json that the model card takes its numbers from. Empty: one "
        "beside the model.",
    )
    overwrite: bool = boolean(
        False,
        "Let the new version lack signatures or tensors that clients of the newest one "
        "may ask for. No version is ever deleted or changed.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Signatures(Settings, title="Signatures"):
    """What is served."""

    signatures: str = string(
        "",
        "What is served, with commas between. Empty: all of the library's that this "
        "model and its layers can have, but attack only with --attack.",
    )
    attack: bool = boolean(
        False,
        "Serve PGD too, so that a red team need not have the model.",
        needs=_served("attack"),
    )
    attack_norm: str = choice("2", ("2", "inf"), "Its norm.", needs=_ATTACK)
    attack_eps: float = number(0.5, "Its radius: 0.5, 8/255.", needs=_ATTACK)
    attack_steps: int = integer(20, "Its steps.", at_least=None, needs=_ATTACK)
    smooth_alpha: float = number(
        0.95,
        "How far smooth smooths, in [0, 1).",
        at_least=None,
        needs=_served("smooth"),
    )
    smooth_bandwidth: float = number(
        0.1, "Of its kernel on pixel values.", at_least=None, needs=_served("smooth")
    )
    smooth_iterations: int | None = integer(
        None,
        "Steps of its solver; by default as many as leave at most 1e-4 of the error.",
        at_least=None,
        needs=_served("smooth"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Limits(Settings, title="Limits"):
    """How much a request may ask."""

    max_batch: int = integer(
        limits.MAX_BATCH, "Images that a request may hold.", at_least=None
    )
    max_gradients: int = integer(
        limits.MAX_GRADIENTS,
        "Images that a request to explain, robustness or attack may hold.",
        at_least=None,
        needs=_served("explain", "robustness", "attack"),
    )
    max_iterations: int = integer(
        limits.MAX_ITERATIONS,
        "Power iterations that a request may ask of robustness.",
        at_least=None,
        needs=_served("robustness"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Quantized(Settings, title="TFLite"):
    """A smaller file beside the model."""

    quantize: str = choice(
        "off",
        QUANTIZED,
        "Write a smaller TFLite file into the version too, and print what it costs in "
        "accuracy.",
    )
    dataset: str = string(
        "",
        "Data set on whose test images --quantize is measured. Empty: generated "
        "images, which have no accuracy.",
        needs=_MEASURED,
    )
    data_dir: str = string(
        "", "Folder that holds prepared TFDS folders.", needs=_DATASET
    )
    examples: int = integer(1000, "How many test images; 0: all.", needs=_DATASET)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig(_Model, _Signatures, _Limits, _Quantized):
    """Everything an export depends on; a field is a flag."""

    def check(self) -> None:
        """Raises `UsageError` without a model or a folder."""
        for name in ("model", "out"):
            if not getattr(self, name).strip():
                raise UsageError(f"--{name} must be given and not be empty.")

    @property
    def chosen_signatures(self) -> tuple[str, ...] | None:
        """The signatures asked for; `None` for all that there can be."""
        return _names(self.signatures)

    @property
    def names_of_classes(self) -> tuple[str, ...] | None:
        """The names of the classes, if they were given."""
        return _names(self.class_names)


def main() -> None:
    """Exports what the flags say."""
    config = flags.read(ExportConfig)
    # What can be refused without TensorFlow has been: it takes seconds to import.
    start_tensorflow()
    program.import_modules(config.imports)
    from export import command

    command.export(config)


def start() -> None:
    """Runs the program with the command line's flags."""
    flags.define(ExportConfig)
    program.run(main, lambda: grouped_help(__doc__))


if __name__ == "__main__":
    start()
