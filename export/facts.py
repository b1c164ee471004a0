"""What is known of a model from what lies around it, for its card.

A run folder says how it was trained, an evaluation how good it is, a SavedModel and a
shipped network have cards of their own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export import measured_facts, training_facts
from export.card import FILE, Facts
from export.measured_facts import Measured
from tfrobust.cli import data_record
from tfrobust.cli.records import records_from
from tfrobust.cli.run_folder import RunFolder, run_around
from tfrobust.models import pretrained_card
from tfrobust.models.loading import PRETRAINED, find


def facts_of(
    model: str | os.PathLike[str],
    evaluation: str | os.PathLike[str] | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Facts:
    """What lies around a model says of it.

    `run.flags` and `summary.json` in its folder are those of its training. The summary
    tells of `model.keras` only, not of `best.keras` and not of a kept epoch. Numbers of
    an evaluation come before those of the summary. `data.json` has the names of the
    classes. A SavedModel has a card of its own, and so has a network that is shipped,
    which says what was measured of it.

    Args:
        model: A `.keras` file, a run folder, a SavedModel, `pretrained:NAME` or
            `robustbench:FILE:ARCHITECTURE`.
        evaluation: An `evaluation.json` of `trainers.evaluate`, of any suite, in which
            the model is found by its path or else by its name. By default that in the
            model's folder, if there is one with this model.
        summary: What `summary.json` says where it is not written yet.

    Returns:
        The facts; all `None` for a file on its own.

    Raises:
        FileNotFoundError: If `evaluation` is missing.
        ValueError: If `evaluation` is no evaluation, or not of this model.
    """
    if str(model).startswith(PRETRAINED):
        return _shipped(str(model).removeprefix(PRETRAINED), evaluation)
    path = Path(model).expanduser()
    if path.is_dir():
        path = find(path)
    measured = measured_facts.measured(path, evaluation)
    if path.is_dir():
        return _carried(path, measured)
    run = RunFolder(path.parent)
    flags = run.stated_flags() if run.flags.is_file() else {}
    whole = _json(run.summary) if summary is None else summary
    # It tells of the last network, not of the best and not of a kept one.
    last = path.name == "model.keras"
    own = whole if last else {key: whole.get(key) for key in ("dataset", "versions")}
    return Facts(
        data=training_facts.data(flags, own),
        training=training_facts.settings(flags) or None,
        accuracy=measured.accuracy or training_facts.accuracy(flags, own),
        robust_accuracy=measured.robust_accuracy
        or training_facts.watched(path.name, flags, whole),
        geometry=measured.geometry or training_facts.geometry(own),
        judgement=measured.judgement,
        versions=own.get("versions"),
        class_names=_names(data_record.read(run_around(path))),
    )


def _shipped(name: str, evaluation: str | os.PathLike[str] | None) -> Facts:
    """What is known of a network of the zoo."""
    card = pretrained_card(name)
    content = card["measured"]
    measured = measured_facts.measured_in(
        content["dataset"], records_from(content["records"])
    )
    # Only what is named: a file of the current folder has nothing to do with it.
    if evaluation is not None:
        measured = measured_facts.measured(Path(PRETRAINED + name), evaluation)
    return Facts(
        **measured._asdict(),
        data=training_facts.data(card["training"], {}),
        training=training_facts.settings(card["training"]) or None,
        versions=card.get("versions"),
    )


def _carried(version: Path, measured: Measured) -> Facts:
    """What the card of a SavedModel says, and an evaluation of it."""
    card = _json(version / FILE)
    return Facts(
        data=card.get("data"),
        training=card.get("training"),
        accuracy=measured.accuracy or card.get("accuracy"),
        robust_accuracy=measured.robust_accuracy or card.get("robust_accuracy"),
        geometry=measured.geometry or card.get("geometry"),
        # It is of the robust accuracy beside it, not of a newer one.
        judgement=measured.judgement
        if measured.robust_accuracy
        else card.get("judgement"),
        versions=(card.get("versions") or {}).get("training"),
        class_names=_names(card),
    )


def _names(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the classes in a run's record or a card, if they are there."""
    names = content.get("class_names")
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _json(file: Path) -> dict[str, Any]:
    """An object in a file; empty if there is no such file or something else in it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
