"""One export, from the model's file to the new version and what is said of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
from absl import flags

from export import quantize
from export.facts import facts_of
from export.inputs import free_side
from export.saved_model import export_saved_model, load_model
from export.signatures import Settings
from tfrobust import attacks
from tfrobust.cli import program
from tfrobust.core.pixels import Bounds, bounds_of, check_bounds, from_unit
from tfrobust.core.unit_network import UnitNetwork

if TYPE_CHECKING:
    from export.__main__ import ExportConfig

_SNIPPET = """\
import tensorflow as tf
model = tf.saved_model.load({folder!r})
answer = model.signatures["serving_default"](images=tf.zeros({shape}))\
"""


def _snippet(version: Path) -> str:
    """Three lines that query the model."""
    loaded = tf.saved_model.load(str(version))
    default = loaded.signatures["serving_default"]
    shape = default.structured_input_signature[1]["images"].shape[1:]
    free = free_side(shape, lambda images: default(images=images))
    sides = [1, *(side or free for side in shape)]
    return _SNIPPET.format(folder=str(version), shape=sides)


def export(config: ExportConfig) -> None:
    """Exports, and prints how to query the version and what --quantize measured.

    Raises `UsageError` if it cannot be done.
    """
    reports: list[dict[str, Any]] = []
    try:
        version = _write(config, reports)
    except (ValueError, OSError) as error:
        unknown = getattr(error.__cause__, "missing", "")
        hint = "; name the module that does by --import" if unknown else ""
        raise program.UsageError(_in_flags(str(error)) + hint) from error
    print(f"Wrote {version}. Query it with:\n\n{_snippet(version)}")
    for report in reports:
        print(f"\nOn {report['images']} {report['origin']}:\n")
        print(quantize.report_table(report).text())


def _write(config: ExportConfig, reports: list[dict[str, Any]]) -> Path:
    """The new version; what --quantize measures goes into `reports`."""
    model = load_model(config.model, config.output or None, _bounds(config))
    return export_saved_model(
        model,
        config.out,
        config.names_of_classes,
        signatures=config.chosen_signatures,
        folded=config.fold,
        settings=_settings(config),
        output=config.output or None,
        bounds=_bounds(config),
        warmup=config.warmup,
        facts=facts_of(config.model, config.evaluation or None),
        overwrite=config.overwrite,
        extras=_extras(config, model, reports),
    )


def _extras(
    config: ExportConfig, model: keras.Model, reports: list[dict[str, Any]]
) -> list[Callable[[Path], None]]:
    """What --quantize adds to the version; its figures go into `reports`."""
    kind = config.quantize
    if kind == "off":
        return []
    sample = _sample(config, model)

    def extra(folder: Path) -> None:
        reports.append(quantize.write_quantized(folder, kind, sample, config.max_batch))

    return [extra]


def _sample(config: ExportConfig, model: keras.Model) -> quantize.Sample:
    """The images that --quantize is measured on."""
    output = config.output or getattr(model, "output_name", None)
    unit = UnitNetwork(model, bounds_of(model, _bounds(config)), output)
    sample = _drawn(config, unit)
    # What is served takes the network's own pixels.
    images = from_unit(tf.constant(sample.images), unit.pixel_bounds).numpy()
    return dataclasses.replace(sample, images=images)


def _drawn(config: ExportConfig, unit: UnitNetwork) -> quantize.Sample:
    """The same in [0, 1]."""
    shape, classes = unit.input_shape[1:], unit.output_shape[-1]
    if not config.dataset:
        return quantize.generate_sample(shape)
    folder, count = config.data_dir or None, config.examples
    try:
        return quantize.draw_sample(config.dataset, folder, count, shape, classes)
    except (ValueError, OSError) as error:
        raise program.UsageError(f"--dataset={config.dataset}: {error}") from error


def _bounds(config: ExportConfig) -> Bounds | None:
    """What `--bounds` says, if anything."""
    return check_bounds(config.bounds.split(",")) if config.bounds else None


def _settings(config: ExportConfig) -> Settings:
    """What the flags fix; `ValueError` names an argument of the attack or smoother."""
    norm = 2 if config.attack_norm == "2" else "inf"
    attack = attacks.PGD(norm=norm, eps=config.attack_eps, steps=config.attack_steps)
    return Settings(
        attack=attack if config.attack else None,
        alpha=config.smooth_alpha,
        bandwidth=config.smooth_bandwidth,
        smooth_iterations=config.smooth_iterations,
        max_batch=config.max_batch,
        max_gradients=config.max_gradients,
        max_iterations=config.max_iterations,
    )


def _in_flags(sentence: str) -> str:
    """A sentence about an argument as one about the flag that it came from."""
    renamed = {
        "directory": "out",
        "eps": "attack_eps",
        "steps": "attack_steps",
        "alpha": "smooth_alpha",
        "bandwidth": "smooth_bandwidth",
    }
    start = re.match(r"`(\w+)`", sentence)
    if start is None:
        return sentence
    flag = renamed.get(start[1], start[1])
    return f"--{flag}{sentence[start.end() :]}" if flag in flags.FLAGS else sentence
