"""What a training run says of its model, from its flags and its summary.

Nothing of it tells of the machine: paths and folders stay out.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from tfrobust import attacks
from tfrobust.attacks import ThreatModel
from tfrobust.cli.dataset_names import short_name
from tfrobust.models.loading import PRETRAINED

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


def data(flags: dict[str, str], summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The data set by name, and how many of its images were used.

    Args:
        flags: Those of the run, by name.
        summary: What its `summary.json` says.

    Returns:
        The field of the card; `None` if neither names a data set.

    Example:
        >>> data({"dataset": "shapes", "train_examples": "0"}, {})["train_examples"]
        'all'
    """
    name = flags.get("dataset") or summary.get("dataset")
    if name is None:
        return None
    return {
        "dataset": _value(public_name(name) or ""),
        "train_examples": _all_or(flags.get("train_examples")),
        "eval_examples": _all_or(flags.get("eval_examples")),
        "augment": flags.get("augment"),
    }


def settings(flags: dict[str, str]) -> dict[str, Any]:
    """Settings that were made, but for where things lay.

    Args:
        flags: Those of the run, by name.

    Returns:
        Numbers, truth values and words by the name of their flag; `None` for a place.

    Example:
        >>> settings({"width": "16", "workdir": "runs/a", "initial": "runs/b"})
        {'width': 16, 'initial': None}
    """
    return {
        name: _setting(name, value)
        for name, value in flags.items()
        if name not in _OF_THE_MACHINE and value
    }


def accuracy(
    flags: dict[str, str], summary: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Accuracy on the test images, as the run measured it at its end.

    Args:
        flags: Those of the run, by name.
        summary: What its `summary.json` says.

    Returns:
        The field of the card; `None` if there is no such number.

    Example:
        >>> accuracy({"eval_examples": "50"}, {"test_accuracy": 0.5})["images"]
        50
    """
    mean = summary.get("test_accuracy")
    if mean is None:
        return None
    count = _all_or(flags.get("eval_examples"))
    return {
        "mean": mean,
        "standard_error": None,
        "images": count if isinstance(count, int) else None,
        "dataset": public_name(summary.get("dataset")),
        "source": "training",
    }


def geometry(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The norm of the gradient on the test images, as the run measured it at its end.

    Args:
        summary: What its `summary.json` says.

    Returns:
        The field of the card; `None` if there is no such number.

    Example:
        >>> geometry({"test_gradient_norm": 0.5})["test"]["gradient_norm"]["mean"]
        0.5
    """
    mean = summary.get("test_gradient_norm")
    if mean is None:
        return None
    estimate = {"mean": mean, "standard_error": None}
    origin = {"dataset": public_name(summary.get("dataset")), "source": "training"}
    return {"test": {"gradient_norm": estimate}} | origin


def watched(
    file: str, flags: dict[str, str], summary: Mapping[str, Any]
) -> list[dict[str, Any]] | None:
    """What `--watch_robust` measured on held-out training images.

    Args:
        file: Name of the model's file, `model.keras` or `best.keras`.
        flags: Those of the run, by name.
        summary: What its `summary.json` says.

    Returns:
        The field of the card; `None` if it was not measured of this file.

    Example:
        >>> (entry,) = watched("model.keras", {}, {"held_out_robust_accuracy": 0.5})
        >>> entry["threat_model"], entry["mean"]
        ('Linf', 0.5)
    """
    kept = {"model.keras": "held_out_robust_accuracy"}
    field = (kept | {"best.keras": "best_held_out_robust_accuracy"}).get(file, "")
    mean = summary.get(field)
    if mean is None:
        return None
    ball = _ball(flags.get("adversary", ""))
    if ball is None:
        return None
    name, eps = str(dataclasses.replace(ball, eps=None)), ball.eps
    steps = _value(flags.get("watch_steps", "")) or None
    about = {
        "attack": f"PGD {name}",
        "threat_model": name,
        "eps": eps,
        "specs": [f"pgd:norm={name.removeprefix('L')},eps={eps},steps={steps}"],
        "seed": None,
        "images": _value(flags.get("watch_robust", "")) or None,
        "mean": mean,
        "standard_error": None,
    }
    dataset = public_name(flags.get("dataset"))
    return [about | {"dataset": dataset, "source": "training, held out"}]


def public_name(dataset: str | None) -> str | None:
    """A data set's name without the place where its files lie.

    Args:
        dataset: As it was given to a program, or `None`.

    Returns:
        Of files of one's own the name of their folder or file, else the name itself.

    Example:
        >>> public_name("folder:/home/me/photos:size=64"), public_name("shapes")
        ('photos', 'shapes')
    """
    return None if dataset is None else short_name(dataset)


def _setting(name: str, value: str) -> Any:
    """What a card says of a flag."""
    # An attack may have a radius of 8/255, which is no path; a setting may be one.
    if name == "adversary":
        texts = value.partition(":")[2].split(",")
        places = [text for text in texts if _PLACE.match(text.partition("=")[2])]
        return None if places else value
    if name == "dataset":
        return _value(short_name(value))
    return None if _is_place(name, value) else _value(value)


def _is_place(name: str, value: str) -> bool:
    """Whether a flag names a network that is not one of those that are shipped."""
    return name in _NETWORKS and not value.startswith(PRETRAINED)


def _value(value: str) -> Any:
    """A flag's value as a number or a truth value if it is one; `None` of a place."""
    if _PLACE.match(value):
        return None
    try:
        return json.loads(value)
    except ValueError:
        return value


def _all_or(count: str | None) -> Any:
    """How many images a flag asks for, 0 for all of them."""
    return None if count is None else "all" if count == "0" else _value(count)


def _ball(adversary: str) -> ThreatModel | None:
    """Where `--watch_robust` attacked; `None` if no such attack is registered here."""
    if adversary in ("", "off"):
        return ThreatModel("inf", 8 / 255)
    try:
        return attacks.parse(adversary).threat
    except ValueError:
        return None
