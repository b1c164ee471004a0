"""What tells a model from others, where results of it are kept on disk."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import tfrobust
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.store import close, digest
from tfrobust.core.black_box import BlackBox
from tfrobust.core.classifier import AskedClassifier
from tfrobust.core.gradients import values_and_gradient
from tfrobust.layers import network_of

# Images on which models are compared by answers and gradients.
_PROBED = 8


class Identity(NamedTuple):
    """What a model is known by.

    Attributes:
        exact: A digest of what must be equal to the last bit: this library's version,
            the range of the pixels, and a Keras network's weights and configuration.
        probe: What must be equal up to rounding: the answers to some images and their
            gradients, by name. `None` of a model that answers at random.
    """

    exact: str
    probe: dict[str, np.ndarray] | None


def identity_of(
    model: Any, classifier: AskedClassifier, images: tf.Tensor, labels: tf.Tensor
) -> Identity:
    """The identity of a model, from some images.

    Two models that answer alike and differ in their gradients are two.

    Args:
        model: As for an attack's call.
        classifier: The same as `as_classifier` has it.
        images: float32 `[B, H, W, C]` in [0, 1], of which the first are looked at.
        labels: int32 `[B]`.

    Raises:
        ValueError: If it is a `BlackBox` without a `key`.
    """
    exact = [tfrobust.__version__, repr(classifier.bounds), *_own(model)]
    images, labels = images[:_PROBED], labels[:_PROBED]
    first, second = classifier(images).numpy(), classifier(images).numpy()
    if not close(first, second):
        # Answers tell nothing. Weights do; without them no two models are the same.
        known = isinstance(model, keras.layers.Layer)
        return Identity(digest([*exact, "" if known else uuid.uuid4().hex]), None)
    probe = {"images": images.numpy(), "logits": first}
    goal = Goal(labels, targeted=False)
    if classifier.has_gradient:
        try:
            _, slopes = values_and_gradient(
                lambda points: goal.margin(classifier(points)), images
            )
        except ValueError:
            pass  # It has none, which the exact part need not know.
        else:
            probe["slopes"] = slopes.numpy()
    return Identity(digest(exact), probe)


def _own(model: Any) -> Iterator[Any]:
    """What a model of a known kind says of itself."""
    if isinstance(model, BlackBox):
        if model.key is None:
            raise ValueError(
                "`folder` needs a model that can be told from others: give the "
                "BlackBox a `key`. Received: key=None"
            )
        yield from ("black box", model.key, model.answers)
    elif isinstance(model, keras.layers.Layer):
        network = network_of(model)
        yield f"{type(network).__module__}.{type(network).__qualname__}"
        yield _configuration(network)
        for variable in network.variables:
            # A seed generator's state moves with every answer.
            if "seed_generator" not in variable.path:
                yield np.asarray(variable)


def _configuration(network: Any) -> str:
    """A Keras network's configuration; empty of a class that has none.

    Layers are numbered: Keras gives other names to a network that is built again.
    """
    try:
        config = network.get_config()
        plain = json.loads(json.dumps(config, sort_keys=True, default=repr))
    except (NotImplementedError, TypeError, ValueError):
        return ""
    numbers: dict[str, str] = {}
    for name in _names(plain):
        numbers.setdefault(name, f"#{len(numbers)}")
    return json.dumps(_renamed(plain, numbers))


def _names(config: Any) -> Iterator[str]:
    """Every name in a configuration, in order."""
    parts = config if isinstance(config, list) else []
    if isinstance(config, dict):
        parts = list(config.values())
        if isinstance(config.get("name"), str):
            yield config["name"]
    for part in parts:
        yield from _names(part)


def _renamed(config: Any, names: dict[str, str]) -> Any:
    """The configuration with other names."""
    if isinstance(config, dict):
        return {key: _renamed(part, names) for key, part in config.items()}
    if isinstance(config, list):
        return [_renamed(part, names) for part in config]
    return names.get(config, config) if isinstance(config, str) else config
