"""What an evaluation says of a model: accuracy, robust accuracy and geometry."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from export.training_facts import public_name
from tfrobust.cli.records import Record, Records, read_evaluation
from tfrobust.cli.run_folder import EVALUATION, model_name

_ESTIMATE = ("mean", "standard_error")
_GEOMETRY = ("gradient_norm", "hessian_norm", "curvature")


class Measured(NamedTuple):
    """The fields of `export.card.Facts` that an evaluation has; `None` of none.

    Attributes:
        accuracy: Mean, standard error, images, data set and source.
        robust_accuracy: One entry an attack and radius.
        geometry: Gradient norm, Hessian norm and curvature.
        judgement: Verdict and sentence, norm and radius.
    """

    accuracy: dict[str, Any] | None = None
    robust_accuracy: list[dict[str, Any]] | None = None
    geometry: dict[str, Any] | None = None
    judgement: dict[str, Any] | None = None


def measured(path: Path, evaluation: str | os.PathLike[str] | None) -> Measured:
    """What an evaluation says of a model.

    Args:
        path: The model's file or folder.
        evaluation: The evaluation; by default that beside the model, if it is of it.

    Returns:
        The fields; all `None` where no evaluation is of this model.

    Raises:
        FileNotFoundError: If `evaluation` is missing.
        ValueError: If `evaluation` is none, or not of this model.
    """
    if evaluation is not None and not Path(evaluation).is_file():
        raise FileNotFoundError(
            f"`evaluation` must be an existing file. Received: {evaluation}"
        )
    file = path.parent / EVALUATION if evaluation is None else Path(evaluation)
    models: list[Any] = []
    name, reason = None, ""
    try:
        whole = read_evaluation(file)
        listed = whole.about.get("models")
        models = (
            [entry for entry in listed if isinstance(entry, dict)] if listed else []
        )
        name = _find(path, models)
    except (ValueError, KeyError, TypeError) as error:
        reason = f" ({error})"
    if name is not None:
        return measured_in(whole.about.get("dataset"), whole.records.of(name))
    if evaluation is not None:
        names = ", ".join(str(model.get("name")) for model in models) or "nothing"
        raise ValueError(
            f"`evaluation` must be an evaluation.json with the model {path}. "
            f"Received: {file}, of {names}{reason}"
        )
    return Measured()


def measured_in(dataset: str | None, records: Records) -> Measured:
    """What the records of a single model say.

    Args:
        dataset: Name of the data set that they were measured on.
        records: The records.

    Returns:
        The fields; `None` where no record is of that.
    """
    origin = {"dataset": public_name(dataset), "source": "evaluation"}
    clean = records.where("accuracy", split="test", attacked=None, suite=None)
    robust = records.where("robust_accuracy", rounded=False)
    return Measured(
        accuracy=_estimate(clean[0]) | origin if clean else None,
        robust_accuracy=[_robust(record) | origin for record in robust] or None,
        geometry=_geometry(records, origin),
        judgement=_judgement(records, origin),
    )


def _find(path: Path, models: list[Any]) -> str | None:
    """The name of a model: of that with its path, or else the only one of its name."""
    place = path.resolve()
    for model in models:
        if Path(str(model.get("path"))).resolve() == place:
            return model["name"]
    name = model_name(place)
    alike = [model["name"] for model in models if model.get("name") == name]
    return alike[0] if len(alike) == 1 else None


def _robust(record: Record) -> dict[str, Any]:
    about = {"specs": record.about.get("attacks"), "seed": record.about.get("seed")}
    named = _pick(record.setting, ("attack", "threat_model", "eps"))
    return named | about | _estimate(record)


def _estimate(record: Record) -> dict[str, Any]:
    return _pick(record.to_json(), ("images", *_ESTIMATE))


def _geometry(records: Records, origin: dict[str, Any]) -> dict[str, Any] | None:
    """Gradient norm, Hessian norm and curvature on the images of each split."""
    parts: dict[str, Any] = {}
    about: dict[str, Any] = {}
    for record in records:
        if record.quantity in _GEOMETRY:
            part = parts.setdefault(str(record.setting["split"]), {})
            part[record.quantity] = _pick(record.to_json(), _ESTIMATE)
            about = {"images": record.images} | _pick(
                record.about, ("power_iterations",)
            )
    for record in records.where("discrepancy"):
        part = parts.setdefault("discrepancy", {})
        # Until the suite divided by the value on training images, it was that on test.
        relative_to = {"relative_to": record.about.get("relative_to", "test")}
        estimate = _pick(record.to_json(), _ESTIMATE)
        part[str(record.setting["of"])] = estimate | relative_to
    return about | parts | origin if about else None


def _judgement(records: Records, origin: dict[str, Any]) -> dict[str, Any] | None:
    """What an evaluation found of its robust accuracy; of several the last."""
    judged = records.where("trustworthy")
    if not judged:
        return None
    said = _pick(judged[-1].about, ("verdict", "sentence"))
    ball = _pick(judged[-1].setting, ("threat_model", "eps"))
    return said | ball | {"images": judged[-1].images} | origin


def _pick(source: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: source.get(name) for name in names}
