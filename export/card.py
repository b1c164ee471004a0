"""What is known of a served model, beside it: `assets.extra/model_card.json`.

The signatures come from the SavedModel itself, the facts of its training and of how
good it is from `export.facts`. What is not known is null. A card goes wherever the
model goes, so nothing in it tells of the machine: no path, no folder, no user.

docs/SERVING.md has the fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfrobust.cli.run_folder import versions, write_json
from tfrobust.models.served import CARD

FILE = CARD
"""Where the card lies, below the folder of a version."""

SCHEMA = 1
"""Raised whenever a field changes its meaning or goes away."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What a training run and an evaluation say of a model; `None` is not known.

    Args:
        data: The data set by name and how many of its images were used.
        training: Settings of the run by the name of their flag.
        accuracy: Mean, standard error, images, data set and source.
        robust_accuracy: One entry an attack and radius.
        geometry: Gradient norm, Hessian norm and curvature.
        judgement: Whether an evaluation found its robust accuracy trustworthy: verdict
            and sentence, norm and radius.
        versions: Of the packages that the model was trained with.
        class_names: Names of the classes in order.
    """

    data: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    accuracy: dict[str, Any] | None = None
    robust_accuracy: list[dict[str, Any]] | None = None
    geometry: dict[str, Any] | None = None
    judgement: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    class_names: tuple[str, ...] | None = None


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
        facts: What is said of its training and of how good it is.
        class_names: Names of the classes in order, as they are served; those of `facts`
            are not looked at.
        serving: What was fixed at export.

    Returns:
        The file.
    """
    fields = dataclasses.asdict(facts)
    trained_with = fields.pop("versions")
    del fields["class_names"]
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
    # An attack of somebody's own may have settings that JSON has no word for.
    write_json(path, card, sort_keys=True, default=lambda _: None)
    return path


def signatures_of(version: Path) -> dict[str, Any]:
    """The tensors of each signature, as the file of the SavedModel has them.

    Args:
        version: Folder of the SavedModel.

    Returns:
        `{signature: {"inputs": {tensor: {"dtype", "shape"}}, "outputs": ...}}`; a size
        that is free is `None`.
    """
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((version / "saved_model.pb").read_bytes())
    return {
        name: {"inputs": _tensors(entry.inputs), "outputs": _tensors(entry.outputs)}
        for graph in saved.meta_graphs
        for name, entry in graph.signature_def.items()
        if not name.startswith("__")
    }


def _tensors(infos: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tensor(infos[name]) for name in infos}


def _tensor(info: Any) -> dict[str, Any]:
    shape = None
    if not info.tensor_shape.unknown_rank:
        shape = [None if side.size < 0 else side.size for side in info.tensor_shape.dim]
    return {"dtype": tf.as_dtype(info.dtype).name, "shape": shape}
