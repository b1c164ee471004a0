"""Exports a Keras model for serving.

python -m export --model=run/model.keras --out=served/NAME

Writes served/NAME/1, or the next free number: nothing that exists is replaced, and a
server can go back to an older version. docs/SERVING.md describes what is served. A
mistake in the arguments ends with exit code 2 and one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from absl import flags

from export import quantize
from export.card import Facts, facts_of
from export.inputs import free_side
from export.saved_model import export_saved_model, load_model
from export.signatures import Settings
from tfrobust import attacks
from trainers import program

_MODEL = flags.DEFINE_string(
    "model", None, "What to export: a `.keras` file, the folder of a run, a SavedModel "
    "(or the folder of its versions: the newest) or pretrained:NAME.",
)  # fmt: skip
_IMPORT = flags.DEFINE_multi_string(
    "import", [], "Module to import first, which registers Keras classes that the "
    "model has. Once for each.",
)  # fmt: skip
_OUT = flags.DEFINE_string(
    "out", None, "Folder that holds the versions; its name is the served name."
)
_CLASS_NAMES = flags.DEFINE_list(
    "class_names", None, "Names of the classes in order, separated by commas."
)
_SIGNATURES = flags.DEFINE_list(
    "signatures", None, "What is served, with commas between. By default all that this "
    "model and its layers can have, but attack only with --attack.",
)  # fmt: skip
_FOLD = flags.DEFINE_bool(
    "fold", True, "Put spectral norms and batch norms into constant kernels."
)
_ATTACK = flags.DEFINE_bool(
    "attack", False, "Serve PGD too, so that a red team need not have the model."
)
_ATTACK_NORM = flags.DEFINE_enum("attack_norm", "2", ["2", "inf"], "Its norm.")
_ATTACK_EPS = flags.DEFINE_float("attack_eps", 0.5, "Its radius.")
_ATTACK_STEPS = flags.DEFINE_integer("attack_steps", 20, "Its steps.")
_SMOOTH_ALPHA = flags.DEFINE_float(
    "smooth_alpha", 0.95, "How far smooth smooths, in [0, 1)."
)
_SMOOTH_BANDWIDTH = flags.DEFINE_float(
    "smooth_bandwidth", 0.1, "Of its kernel on pixel values."
)
_SMOOTH_ITERATIONS = flags.DEFINE_integer(
    "smooth_iterations", None, "Steps of its solver; by default as many as leave at "
    "most 1e-4 of the error.",
)  # fmt: skip
_MAX_BATCH = flags.DEFINE_integer(
    "max_batch", Settings.max_batch, "Images that a request may hold."
)
_MAX_GRADIENTS = flags.DEFINE_integer(
    "max_gradients", Settings.max_gradients, "Images that a request to explain, "
    "robustness or attack may hold.",
)  # fmt: skip
_MAX_ITERATIONS = flags.DEFINE_integer(
    "max_iterations", Settings.max_iterations, "Power iterations that a request may "
    "ask of robustness.",
)  # fmt: skip
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Let the new version lack signatures or tensors that clients "
    "of the newest one may ask for. No version is ever deleted or changed.",
)  # fmt: skip
_WARMUP = flags.DEFINE_bool(
    "warmup", True, "Have a server answer each signature once before it serves it."
)
_EVALUATION = flags.DEFINE_string(
    "evaluation", None, "The evaluation.json that the model card takes its numbers "
    "from. By default one beside the model.",
)  # fmt: skip
_QUANTIZE = flags.DEFINE_enum(
    "quantize", None, quantize.KINDS, "Write a smaller TFLite file into the version "
    "too, and print what it costs in accuracy.",
)  # fmt: skip
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set on whose test images --quantize is measured; without "
    "one on generated images, which tell no accuracy.",
)  # fmt: skip
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder that holds prepared TFDS folders."
)
_EXAMPLES = flags.DEFINE_integer(
    "examples", 1000, "How many test images; 0: all.", lower_bound=0
)
_SNIPPET = """\
import tensorflow as tf
model = tf.saved_model.load({folder!r})
answer = model.signatures["serving_default"](images=tf.zeros({shape}))\
"""


def _snippet(version: Path) -> str:
    """Three lines that query the model."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version))
    default = loaded.signatures["serving_default"]
    shape = default.structured_input_signature[1]["images"].shape[1:]
    free = free_side(shape, lambda images: default(images=images))
    sides = [1, *(side or free for side in shape)]
    return _SNIPPET.format(folder=str(version), shape=sides)


def main() -> None:
    """Export what the flags say."""
    model, out = _given(_MODEL), _given(_OUT)
    program.import_modules(_IMPORT.value)
    try:
        version, reports = _export(model, out)
    except (ValueError, OSError) as error:
        unknown = getattr(error.__cause__, "missing", "")
        hint = "; name the module that does by --import" if unknown else ""
        raise program.UsageError(_in_flags(str(error)) + hint) from error
    print(f"Wrote {version}. Query it with:\n\n{_snippet(version)}")
    for report in reports:
        print(f"\nOn {report['images']} {report['origin']}:\n")
        print(quantize.report_table(report).text())


def _export(path: str, out: str) -> tuple[Path, list[dict[str, Any]]]:
    """The new version, and what --quantize measured."""
    model = load_model(path)
    facts = _facts(path)
    try:
        settings = _settings()
    except ValueError as error:
        raise program.UsageError(_in_flags(str(error))) from error
    reports: list[dict[str, Any]] = []
    version = export_saved_model(
        model,
        out,
        _CLASS_NAMES.value,
        signatures=_SIGNATURES.value,
        folded=_FOLD.value,
        settings=settings,
        warmup=_WARMUP.value,
        facts=facts,
        overwrite=_OVERWRITE.value,
        extras=_extras(model, reports),
    )
    return version, reports


def _extras(
    model: keras.Model, reports: list[dict[str, Any]]
) -> list[Callable[[Path], None]]:
    """What --quantize adds to the version; its figures go into `reports`."""
    kind = _QUANTIZE.value
    if kind is None:
        if _DATASET.value:
            raise program.UsageError("--dataset is what --quantize is measured on.")
        return []
    sample = _sample(model)

    def extra(folder: Path) -> None:
        reports.append(quantize.write_quantized(folder, kind, sample, _MAX_BATCH.value))

    return [extra]


def _sample(model: keras.Model) -> quantize.Sample:
    """The images that --quantize is measured on."""
    shape = model.input_shape[1:]
    if not _DATASET.value:
        return quantize.generate_sample(shape)
    folder, count = _DATA_DIR.value, _EXAMPLES.value
    try:
        return quantize.draw_sample(
            _DATASET.value, folder, count, shape, model.output_shape[-1]
        )
    except (ValueError, OSError) as error:
        told = f"--dataset={_DATASET.value}: {error}"
        raise program.UsageError(told) from error


def _facts(path: str) -> Facts:
    """What the model card says of the training and of how good the model is."""
    try:
        return facts_of(path, _EVALUATION.value)
    except (ValueError, OSError) as error:
        raise program.UsageError(_in_flags(str(error))) from error


def _settings() -> Settings:
    """What the flags fix; `ValueError` names an argument of the attack or smoother."""
    norm = 2 if _ATTACK_NORM.value == "2" else "inf"
    attack = attacks.PGD(norm=norm, eps=_ATTACK_EPS.value, steps=_ATTACK_STEPS.value)
    return Settings(
        attack=attack if _ATTACK.value else None,
        alpha=_SMOOTH_ALPHA.value,
        bandwidth=_SMOOTH_BANDWIDTH.value,
        smooth_iterations=_SMOOTH_ITERATIONS.value,
        max_batch=_MAX_BATCH.value,
        max_gradients=_MAX_GRADIENTS.value,
        max_iterations=_MAX_ITERATIONS.value,
    )


def _in_flags(told: str) -> str:
    """A sentence about an argument as one about the flag that it came from."""
    renamed = {
        "directory": "out",
        "eps": "attack_eps",
        "steps": "attack_steps",
        "alpha": "smooth_alpha",
        "bandwidth": "smooth_bandwidth",
    }
    start = re.match(r"`(\w+)`", told)
    if start is None:
        return told
    flag = renamed.get(start[1], start[1])
    return f"--{flag}{told[start.end() :]}" if flag in flags.FLAGS else told


def _given(flag: flags.FlagHolder[str | None]) -> str:
    """The value of a flag that has to be there."""
    value = flag.value
    if value is None or not value.strip():
        raise program.UsageError(f"--{flag.name} must be given and not be empty.")
    return value


def _help() -> str:
    return f"{__doc__}\n{flags.FLAGS.main_module_help()}"


if __name__ == "__main__":
    program.run(main, _help)
