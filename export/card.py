"""What is known of a served model, beside it: `assets.extra/model_card.json`.

Data, settings of the training, accuracy, robust accuracy and geometry come from the
training run that the model lies in and from an evaluation of it; the signatures from
the SavedModel itself. What is not known is null. A card goes wherever the model goes,
so nothing in it tells of the machine: no path, no folder, no user.

docs/SERVING.md has the fields.
"""

from __future__ import annotations

import dataclasses
import fractions
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

from tfrobust.cli.run_folder import RunFolder, model_name, versions
from tfrobust.models import pretrained_card
from tfrobust.models.loading import PRETRAINED, find

FILE = "assets.extra/model_card.json"
"""Where the card lies, below the folder of a version."""

SCHEMA = 1
"""Raised whenever a field changes its meaning or goes away."""

# What says where or how a run was computed, and not what.
_OF_THE_MACHINE = {
    "data_dir", "workdir", "flagfile", "teacher_cache", "tpu", "logical_cpus",
    "distribute", "resume", "overwrite", "dry_run", "import",
}  # fmt: skip
# Anything with a slash may be a path, but for 8/255.
_PLACE = re.compile(r"(?!\d+/\d+$).*[/\\~]|.*\.(keras|h5|npz)$", re.DOTALL)
# What names a network: a shipped one, or a folder of somebody's.
_NETWORKS = {"initial", "teacher", "judge"}
_ATTACK = ("method", "norm", "eps", "steps", "restarts", "images")
_ESTIMATE = ("mean", "standard_error")
_EVALUATION = "evaluation.json"
_NORMS = {"2": "L2", "inf": "Linf", "1": "L1"}


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
        evaluation: An `evaluation.json` of `trainers.evaluate`, suite lcnn, pag or
            dissect, in which the model is found by its path or else by its name. By
            default that in the model's folder, if there is one with this model.
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
    if path.is_dir():
        return _carried(path, evaluation)
    flags = _flags(path.parent)
    told = _json(path.parent / "summary.json") if summary is None else summary
    summary = told
    if path.name != "model.keras":
        summary = {key: summary.get(key) for key in ("dataset", "versions")}
    whole, measured = _measured(path, evaluation)
    origin = {"dataset": whole.get("dataset"), "source": "evaluation"}
    robust = [one | origin for one in _robust(measured)]
    return Facts(
        data=_data(flags, summary),
        training=_training(flags) or None,
        accuracy=_accuracy(measured, origin) or _trained_accuracy(flags, summary),
        robust_accuracy=robust or _watched(path.name, flags, told),
        geometry=_geometry(measured, origin) or _trained_geometry(summary),
        versions=summary.get("versions"),
    )


def _shipped(name: str, evaluation: str | os.PathLike[str] | None) -> Facts:
    """What is known of a network of the zoo."""
    card = pretrained_card(name)
    flags, measured = card["training"], card["measured"]
    place = Path(PRETRAINED + name)
    origin = {"dataset": measured.get("dataset"), "source": "evaluation"}
    # Only what is named: a file of the current folder has nothing to do with it.
    if evaluation is not None:
        whole, measured = _measured(place, evaluation)
        origin["dataset"] = whole.get("dataset")
    return Facts(
        data=_data(flags, {}),
        training=_training(flags) or None,
        accuracy=_accuracy(measured, origin),
        robust_accuracy=[one | origin for one in _robust(measured)] or None,
        geometry=_geometry(measured, origin),
        versions=card.get("versions"),
    )


def _carried(version: Path, evaluation: str | os.PathLike[str] | None) -> Facts:
    """What the card of a SavedModel says, and an evaluation of it."""
    card = _json(version / FILE)
    whole, measured = _measured(version, evaluation)
    origin = {"dataset": whole.get("dataset"), "source": "evaluation"}
    robust = [one | origin for one in _robust(measured)]
    return Facts(
        data=card.get("data"),
        training=card.get("training"),
        accuracy=_accuracy(measured, origin) or card.get("accuracy"),
        robust_accuracy=robust or card.get("robust_accuracy"),
        geometry=_geometry(measured, origin) or card.get("geometry"),
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
        name: None if _is_place(name, value) else _told(value)
        for name, value in flags.items()
        if name not in _OF_THE_MACHINE and value
    }


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
    attacked = flags.get("adversary", "off") != "off"
    norm = flags.get("adversary_norm", "") if attacked else "inf"
    eps = _radius(flags.get("adversary_eps", "")) if attacked else 8 / 255
    about = {
        "method": "PGD",
        "norm": _NORMS.get(norm, norm),
        "eps": eps,
        "steps": _told(flags.get("watch_steps", "")) or None,
        "images": _told(flags.get("watch_robust", "")) or None,
    }
    origin = {"dataset": flags.get("dataset"), "source": "training, held out"}
    return [_entry(about, {"mean": mean}) | origin]


def _radius(value: str) -> float | None:
    """A number or a fraction such as 8/255."""
    try:
        return float(fractions.Fraction(value.replace(" ", "")))
    except (ValueError, ZeroDivisionError):
        return None


def _measured(
    path: Path, evaluation: str | os.PathLike[str] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """An evaluation, and what it says of the model; both empty if there is none."""
    given = evaluation is not None
    file = Path(evaluation) if evaluation is not None else path.parent / _EVALUATION
    if given and not file.is_file():
        raise FileNotFoundError(
            f"`evaluation` must be an existing file. Received: {file}"
        )
    whole = _json(file)
    models = [one for one in whole.get("models") or () if isinstance(one, dict)]
    found = _find(path, models)
    if given and found is None:
        names = ", ".join(str(one.get("name")) for one in models) or "nothing"
        raise ValueError(
            f"`evaluation` must be an evaluation.json with the model {path}. "
            f"Received: {file}, of {names}"
        )
    return (whole, found) if found is not None else ({}, {})


def _find(path: Path, models: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The entry of a model: that with its path, or else the only one of its name."""
    place = path.resolve()
    for one in models:
        if Path(str(one.get("path"))).resolve() == place:
            return one
    alike = [one for one in models if one.get("name") == model_name(place)]
    return alike[0] if len(alike) == 1 else None


def _accuracy(
    measured: dict[str, Any], origin: dict[str, Any]
) -> dict[str, Any] | None:
    found = measured.get("accuracy")
    if not isinstance(found, dict):
        return None
    return _pick(found, ("images", *_ESTIMATE)) | origin


def _robust(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Accuracy under each attack and radius, from whichever suite it was."""
    found = []
    attack = measured.get("attack") or {}
    for at in attack.get("accuracy") or ():
        found.append(_entry(attack | {"eps": at.get("eps")}, at))
    for norm, at in (attack.get("norms") or {}).items():
        about = attack | {"norm": norm, "eps": at.get("eps")}
        found.append(_entry(about, at["accuracy"]))
    for name, one in (measured.get("attacks") or {}).items():
        if "accuracy" in one:
            found.append(_entry({"method": name} | one, one["accuracy"]))
    return found


def _entry(about: dict[str, Any], estimate: dict[str, Any]) -> dict[str, Any]:
    return _pick(about, _ATTACK) | _pick(estimate, _ESTIMATE)


def _geometry(
    measured: dict[str, Any], origin: dict[str, Any]
) -> dict[str, Any] | None:
    whole = measured.get("geometry")
    if not isinstance(whole, dict):
        return None
    parts = {
        part: {name: _pick(one, _ESTIMATE) for name, one in whole[part].items()}
        for part in ("test", "train", "discrepancy")
        if isinstance(whole.get(part), dict)
    }
    about = _pick(whole, ("images", "power_iterations"))
    return about | parts | origin


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
