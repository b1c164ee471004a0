"""Writing networks and what was measured of them into the zoo."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
from typing import Any

import keras
import numpy as np

from tfrobust import models
from tfrobust.cli.loading import load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import read_evaluation
from tfrobust.cli.run_folder import RunFolder, versions, write_json
from tfrobust.models import zoo
from tfrobust.models.loading import PRETRAINED

_FOLDER = pathlib.Path(models.__file__).parent / "zoo"
_LARGEST = 2_000_000
# What depends on the machine, not on the network.
_LEFT_OUT = ("data_dir", "workdir", "tpu", "logical_cpus", "distribute")
# A card tells networks apart; these fill pages, or depend on the machine.
_ONLY_ON_PAGES = (
    "seconds",
    "queries",
    "success",
    "distortion",
    "class_accuracy",
    "class_robust_accuracy",
    "accuracy_over_eps",
)


def publish(folder: RunFolder, name: str, summary: str, overwrite: bool) -> None:
    """Writes the network of a finished run, and its card, into the zoo.

    Args:
        folder: The run.
        name: Of the network in the zoo.
        summary: A sentence for its card.
        overwrite: Whether one of that name may be replaced.

    Raises:
        UsageError: If the run has not finished, its network is too large, or one of
            that name is there.
    """
    if not folder.summary.exists() or not folder.model.exists():
        raise UsageError(f"{folder.path} holds no finished run.")
    card = _FOLDER / f"{name}.json"
    if card.exists() and not overwrite:
        raise UsageError(f"{card.name} exists already; replace it with --overwrite.")
    network = load_classifier(folder.model, flag="").network
    packed = io.BytesIO()
    arrays: dict[str, Any] = zoo.pack(network)
    np.savez_compressed(packed, **arrays)
    content = packed.getvalue()
    if len(content) > _LARGEST:
        raise UsageError(
            f"{folder.model} packs into {len(content)} bytes; a network of the zoo has "
            f"at most {_LARGEST}."
        )
    flags = folder.stated_flags()
    facts = {
        "name": name,
        "summary": summary,
        "network": _settings(flags, network),
        "training": {k: v for k, v in flags.items() if k not in _LEFT_OUT},
        "measured": {},
        "versions": versions(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    _FOLDER.mkdir(exist_ok=True)
    card.with_suffix(".npz").write_bytes(content)
    write_json(card, facts)
    print(f"{card.with_suffix('.npz').name}: {len(content) / 1e6:.2f} MB")


def _settings(flags: dict[str, str], network: keras.Model) -> dict[str, Any]:
    """What `zoo.build` needs; beta and gamma of an lcnn are among its weights."""
    settings = {
        "architecture": flags["model"],
        "input_shape": list(network.input_shape[1:]),
        "classes": network.output_shape[-1],
        "variant": flags["variant"],
        "width": int(flags["width"]),
    }
    if flags["variant"] in ("plain", "standard"):
        return settings
    return {**settings, "beta": float(flags["initial_beta"])}


def fill_in(path: str) -> None:
    """Adds what an evaluation holds of shipped networks to their cards.

    What other evaluations on the same data have measured stays. Of two records of the
    same quantity and setting that over more images is kept, of equals the newer.

    Args:
        path: The evaluation.

    Raises:
        ValueError: If it is none, or of no network that is shipped. Nothing is written
            then.
    """
    evaluation = read_evaluation(path)
    cards = {
        model["name"]: _FOLDER / f"{model['path'].removeprefix(PRETRAINED)}.json"
        for model in evaluation.about["models"]
        if model["path"].startswith(PRETRAINED)
    }
    if not cards or not all(card.is_file() for card in cards.values()):
        paths = ", ".join(model["path"] for model in evaluation.about["models"])
        raise ValueError(
            "`path` must be an evaluation of networks of the zoo, as "
            f"{PRETRAINED}NAME. Received: {path}, of {paths or 'nothing'}"
        )
    for name, card in cards.items():
        content = json.loads(card.read_text())
        dataset, before = evaluation.about["dataset"], content["measured"]
        there = before["records"] if before.get("dataset") == dataset else []
        new = [
            record.to_json() | {"model": content["name"]}
            for record in evaluation.records.of(name)
            if record.quantity not in _ONLY_ON_PAGES
        ]
        content["measured"] = {"dataset": dataset, "records": _merged(there, new)}
        write_json(card, content)
        print(f"{card.name}: measured")


def _merged(
    there: list[dict[str, Any]], new: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Records of a card with those of one more evaluation, each where it first was."""
    kept: dict[str, dict[str, Any]] = {}
    for record in (*there, *new):
        key = json.dumps([record["quantity"], record["setting"]], sort_keys=True)
        if key not in kept or record["images"] >= kept[key]["images"]:
            kept[key] = record
    return list(kept.values())
