"""What is known of a served model, beside it: `assets.extra/model_card.json`.

Data, settings of the training, accuracy, robust accuracy and geometry come from the
training run that the model lies in and from an evaluation of it; the signatures from
the SavedModel itself. What is not known is null. A card goes wherever the model goes,
so nothing in it tells of the machine: no path, no folder, no user.

docs/SERVING.md has the fields.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfrobust import attacks
from tfrobust.attacks import ThreatModel
from tfrobust.cli.records import Record, Records, read_evaluation, records_from
from tfrobust.cli.run_folder import EVALUATION, RunFolder, model_name, versions
from tfrobust.models import pretrained_card
from tfrobust.models.loading import PRETRAINED, find

FILE = "assets.extra/model_card.json"
"""Where the card lies, below the folder of a version."""

SCHEMA = 1
"""Raised whenever a field changes its meaning or goes away."""

# What says where or how a run was computed, and not what.
_OF_THE_MACHINE = {
    "data_dir",
    "workdir",
    "flagfile",
    "teacher_cache",
    "tpu",
    "logical_cpus",
    "distribute",
    "resume",
    "overwrite",
    "dry_run",
    "import",
}
# Anything with a slash may be a path, but for 8/255.
_PLACE = re.compile(r"(?!\d+/\d+$).*[/\\~]|.*\.(keras|h5|npz)$", re.DOTALL)
# What names a network: a shipped one, or a folder of somebody's.
_NETWORKS = {"initial", "teacher", "judge"}
_ESTIMATE = ("mean", "standard_error")
_GEOMETRY = ("gradient_norm", "hessian_norm", "curvature")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What a training run and an evaluation say of a model; `None` is not known.

    Args:
        data: The data set by name and how many of its images were used.
        training: Settings of the run by the name of their flag.
        accuracy: Mean, standard error, images, data set and source.
        robust_accuracy: One entry an attack and radius.
        geometry: Gradient norm, Hessian norm and curvature.
        versions: Of the packages that the model was trained with.
    """

    data: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    accuracy: dict[str, Any] | None = None
    robust_accuracy: list[dict[str, Any]] | None = None
    geometry: dict[str, Any] | None = None
    versions: dict[str, str] | None = None


def facts_of(
    model: str | os.PathLike[str],
    evaluation: str | os.PathLike[str] | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Facts:
    """What lies around a model says of it.

    `run.flags` and `summary.json` in its folder are those of its training. The summary
    tells of `model.keras` only, not of `best.keras` and not of a kept epoch. Numbers of
    an evaluation come before those of the summary. A SavedModel has a card of its own,
    and so has a network that is shipped, which says what was measured of it.

    Args:
        model: A `.keras` file, a run folder, a SavedModel or `pretrained:NAME`.
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
    measured = _measured(path, evaluation)
    if path.is_dir():
        return _carried(path, measured)
    flags = _flags(path.parent)
    whole = _json(path.parent / "summary.json") if summary is None else summary
    # It tells of the last network, not of the best and not of a kept one.
    last = path.name == "model.keras"
    own = whole if last else {key: whole.get(key) for key in ("dataset", "versions")}
    return Facts(
        data=_data(flags, own),
        training=_training(flags) or None,
        accuracy=measured.accuracy or _trained_accuracy(flags, own),
        robust_accuracy=measured.robust_accuracy or _watched(path.name, flags, whole),
        geometry=measured.geometry or _trained_geometry(own),
        versions=own.get("versions"),
    )


def _shipped(name: str, evaluation: str | os.PathLike[str] | None) -> Facts:
    """What is known of a network of the zoo."""
    card = pretrained_card(name)
    content = card["measured"]
    measured = _facts_in(content["dataset"], records_from(content["records"]))
    # Only what is named: a file of the current folder has nothing to do with it.
    if evaluation is not None:
        measured = _measured(Path(PRETRAINED + name), evaluation)
    return dataclasses.replace(
        measured,
        data=_data(card["training"], {}),
        training=_training(card["training"]) or None,
        versions=card.get("versions"),
    )


def _carried(version: Path, measured: Facts) -> Facts:
    """What the card of a SavedModel says, and an evaluation of it."""
    card = _json(version / FILE)
    return Facts(
        data=card.get("data"),
        training=card.get("training"),
        accuracy=measured.accuracy or card.get("accuracy"),
        robust_accuracy=measured.robust_accuracy or card.get("robust_accuracy"),
        geometry=measured.geometry or card.get("geometry"),
        versions=(card.get("versions") or {}).get("training"),
    )


def write_card(
    version: Path,
    name: str,
    facts: Facts,
    class_names: Iterable[str] | None = None,
    serving: Mapping[str, Any] | None = None,
) -> Path:
    """Write the card of a version.

    Args:
        version: Folder of the SavedModel.
        name: What the model is called by a server.
        facts: What is known of its training and of how good it is.
        class_names: Names of the classes in order.
        serving: What was fixed at export.

    Returns:
        The file.
    """
    fields = dataclasses.asdict(facts)
    trained_with = fields.pop("versions")
    card = {
        "schema": SCHEMA,
        "name": name,
        "class_names": None if class_names is None else list(class_names),
        **fields,
        "serving": serving,
        "signatures": signatures_of(version),
        "versions": {"export": versions(), "training": trained_with},
    }
    path = version / FILE
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(plain(card), indent=2, sort_keys=True, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def signatures_of(version: Path) -> dict[str, Any]:
    """The tensors of each signature, as the file of the SavedModel states them.

    Args:
        version: Folder of the SavedModel.

    Returns:
        `{signature: {"inputs": {tensor: {"dtype", "shape"}}, "outputs": ...}}`; a size
        that is free is `None`.
    """
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((version / "saved_model.pb").read_bytes())
    return {
        name: {"inputs": _tensors(one.inputs), "outputs": _tensors(one.outputs)}
        for graph in saved.meta_graphs
        for name, one in graph.signature_def.items()
        if not name.startswith("__")
    }


def plain(value: Any) -> Any:
    """A value as JSON can have it: `None` for NaN, infinity and whatever it cannot say.

    Args:
        value: Dictionaries, sequences, numbers and strings, of Python or NumPy.

    Returns:
        The same in plain Python.

    Example:
        >>> plain({"a": float("nan"), "b": (np.float32(0.5), np.int64(2), object())})
        {'a': None, 'b': [0.5, 2, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, str | bool | None):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return float(value)
    return None


def _data(flags: dict[str, str], summary: Mapping[str, Any]) -> dict[str, Any] | None:
    name = flags.get("dataset") or summary.get("dataset")
    if name is None:
        return None
    return {
        "dataset": _told(name),
        "train_examples": _all_or(flags.get("train_examples")),
        "eval_examples": _all_or(flags.get("eval_examples")),
        "augment": flags.get("augment"),
    }


def _training(flags: dict[str, str]) -> dict[str, Any]:
    """Settings that were made, but for where things lay."""
    return {
        name: _setting(name, value)
        for name, value in flags.items()
        if name not in _OF_THE_MACHINE and value
    }


def _setting(name: str, value: str) -> Any:
    """What a card says of a flag."""
    # An attack may have a radius of 8/255, which is no path; a setting may be one.
    if name == "adversary":
        texts = value.partition(":")[2].split(",")
        places = [text for text in texts if _PLACE.match(text.partition("=")[2])]
        return None if places else value
    return None if _is_place(name, value) else _told(value)


def _is_place(name: str, value: str) -> bool:
    """Whether a flag names a network that is not one of those that are shipped."""
    return name in _NETWORKS and not value.startswith(PRETRAINED)


def _told(value: str) -> Any:
    """A flag's value as a number or a truth value if it is one; no place is told."""
    if _PLACE.match(value):
        return None
    try:
        return json.loads(value)
    except ValueError:
        return value


def _all_or(count: str | None) -> Any:
    """How many images a flag asks for, 0 for all of them."""
    return None if count is None else "all" if count == "0" else _told(count)


def _trained_accuracy(
    flags: dict[str, str], summary: Mapping[str, Any]
) -> dict[str, Any] | None:
    mean = summary.get("test_accuracy")
    if mean is None:
        return None
    count = _all_or(flags.get("eval_examples"))
    return {
        "mean": mean,
        "standard_error": None,
        "images": count if isinstance(count, int) else None,
        "dataset": summary.get("dataset"),
        "source": "training",
    }


def _trained_geometry(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    mean = summary.get("test_gradient_norm")
    if mean is None:
        return None
    estimate = {"mean": mean, "standard_error": None}
    origin = {"dataset": summary.get("dataset"), "source": "training"}
    return {"test": {"gradient_norm": estimate}} | origin


def _watched(
    file: str, flags: dict[str, str], summary: Mapping[str, Any]
) -> list[dict[str, Any]] | None:
    """What `--watch_robust` saw on held-out training images."""
    kept = {"model.keras": "held_out_robust_accuracy"}
    field = (kept | {"best.keras": "best_held_out_robust_accuracy"}).get(file, "")
    mean = summary.get(field)
    if mean is None:
        return None
    ball = _ball(flags.get("adversary", ""))
    if ball is None:
        return None
    name, eps = str(dataclasses.replace(ball, eps=None)), ball.eps
    steps = _told(flags.get("watch_steps", "")) or None
    about = {
        "attack": f"PGD {name}",
        "threat_model": name,
        "eps": eps,
        "specs": [f"pgd:norm={name.removeprefix('L')},eps={eps},steps={steps}"],
        "seed": None,
        "images": _told(flags.get("watch_robust", "")) or None,
        "mean": mean,
        "standard_error": None,
    }
    origin = {"dataset": flags.get("dataset"), "source": "training, held out"}
    return [about | origin]


def _ball(adversary: str) -> ThreatModel | None:
    """Where `--watch_robust` attacked; `None` if the adversary is not known here."""
    if adversary in ("", "off"):
        return ThreatModel("inf", 8 / 255)
    try:
        return attacks.parse(adversary).threat
    except ValueError:
        return None


def _measured(path: Path, evaluation: str | os.PathLike[str] | None) -> Facts:
    """What an evaluation says of a model; nothing where there is none of it.

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
        models = [one for one in listed if isinstance(one, dict)] if listed else []
        name = _find(path, models)
    except (ValueError, KeyError, TypeError) as error:
        reason = f" ({error})"
    if name is not None:
        return _facts_in(whole.about.get("dataset"), whole.records.of(name))
    if evaluation is not None:
        names = ", ".join(str(one.get("name")) for one in models) or "nothing"
        raise ValueError(
            f"`evaluation` must be an evaluation.json with the model {path}. "
            f"Received: {file}, of {names}{reason}"
        )
    return Facts()


def _find(path: Path, models: list[Any]) -> str | None:
    """The name of a model: of that with its path, or else the only one of its name."""
    place = path.resolve()
    for one in models:
        if Path(str(one.get("path"))).resolve() == place:
            return one["name"]
    alike = [one["name"] for one in models if one.get("name") == model_name(place)]
    return alike[0] if len(alike) == 1 else None


def _facts_in(dataset: str | None, records: Records) -> Facts:
    """What the records of one model say."""
    origin = {"dataset": dataset, "source": "evaluation"}
    clean = records.where("accuracy", split="test", attacked=None, suite=None)
    robust = records.where("robust_accuracy", rounded=False)
    return Facts(
        accuracy=_estimate(clean[0]) | origin if clean else None,
        robust_accuracy=[_robust(one) | origin for one in robust] or None,
        geometry=_geometry(records, origin),
    )


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
    for one in records:
        if one.quantity in _GEOMETRY:
            part = parts.setdefault(str(one.setting["split"]), {})
            part[one.quantity] = _pick(one.to_json(), _ESTIMATE)
            about = {"images": one.images} | _pick(one.about, ("power_iterations",))
    for one in records.where("discrepancy"):
        part = parts.setdefault("discrepancy", {})
        part[str(one.setting["of"])] = _pick(one.to_json(), _ESTIMATE)
    return about | parts | origin if about else None


def _pick(source: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: source.get(name) for name in names}


def _flags(folder: Path) -> dict[str, str]:
    """The flags of a run by name; none without a run."""
    run = RunFolder(folder)
    return run.stated_flags() if run.flags.is_file() else {}


def _json(file: Path) -> dict[str, Any]:
    """An object in a file; empty if there is no such file or something else in it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _tensors(infos: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tensor(infos[name]) for name in infos}


def _tensor(info: Any) -> dict[str, Any]:
    shape = None
    if not info.tensor_shape.unknown_rank:
        shape = [None if side.size < 0 else side.size for side in info.tensor_shape.dim]
    return {"dtype": tf.as_dtype(info.dtype).name, "shape": shape}
