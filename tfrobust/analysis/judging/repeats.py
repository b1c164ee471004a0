"""The same image twice: alone, again, and in other company."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfrobust.analysis.judging import naming
from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.results import Check, check, idle
from tfrobust.core.pixels import from_unit
from tfrobust.layers import find_layers

_EXAMPLES = 8
# What answers of one image may differ by, as a share of the largest logit: convolutions
# add up in another order in another batch, and in half precision it shows.
_SAME, _BATCH, _HALF = 1e-5, 1e-3, 3e-2
_RANDOM = "random", "the same image gets the same answer"
_COMPANY = "batch", "answers do not depend on the rest of the batch"
_RAND = 'which AutoAttack(version="rand") is for'


class Repeats(NamedTuple):
    """Whether answers repeat.

    Attributes:
        checks: Of the same image again, and in another batch.
        at_random: Whether answers are drawn at random.
        by_batch: Whether they depend on the batch.
    """

    checks: tuple[Check, Check]
    at_random: bool
    by_batch: bool


def repeats_check(case: Case) -> Repeats:
    """Asks of the same images again, one by one, and beside other images."""
    half = _is_half(case.network)
    images = case.images[:_EXAMPLES]
    first, again = case.classifier(images), case.classifier(images)
    at_random = naming.differ(first, again, _HALF if half else _SAME)
    apart = float(np.max(np.abs(np.asarray(first) - np.asarray(again))))
    evidence = f"of {len(images)} images answers differ by up to {apart:.3g}"
    part = _random_part(case, images) if at_random else ""
    reason = "the model answers at random" + (f" ({part})" if part else "")
    random = check(*_RANDOM, evidence, at_random, f"{reason}, {_RAND}")
    if at_random:
        company = idle(*_COMPANY, "the model answers at random")
        return Repeats((random, company), True, False)
    alone = np.concatenate(
        [case.classifier(images[i : i + 1]) for i in range(len(images))]
    )
    others = case.classifier(tf.concat([images[:1], 1.0 - images], axis=0))[:1]
    least = _HALF if half else _BATCH
    by_batch = naming.differ(first, alone, least) or naming.differ(
        first[:1], others, least
    )
    apart = float(np.max(np.abs(np.asarray(first) - alone)))
    part = _batch_part(case, images) if by_batch else ""
    reason = "answers depend on the batch" + (f" ({part})" if part else "")
    evidence = f"alone and together answers differ by up to {apart:.3g}"
    company = check(*_COMPANY, evidence, by_batch, reason, "wrong")
    return Repeats((random, company), False, by_batch)


def _random_part(case: Case, images: tf.Tensor) -> str:
    found = naming.random_part(case.given, case.graph.graph, _again(case, images))
    if isinstance(case.given, keras.Model) or found.startswith("the layer"):
        return found
    # A function may call its network in training.
    trained = _again(case, images, training=True)
    for network in naming.networks_in(case.given):
        layer = naming.differing_layer(network, trained)
        if layer is not None and _is_dropout(layer):
            name = f"the layer {layer.name!r} ({type(layer).__name__})"
            return f"{name} with training left on"
    return found


def _batch_part(case: Case, images: tf.Tensor) -> str:
    modes = (False,) if isinstance(case.given, keras.Model) else (False, True)
    part = ""
    for training in modes:
        part = naming.batch_part(case.given, _alone(case, images, training))
        if part and not part.startswith("perhaps"):
            return part
    scope = naming.batch_moments(case.graph.graph)
    return f"batch statistics in use in {scope!r}" if scope else part


def _again(case: Case, images: tf.Tensor, training: bool = False) -> naming.Differ:
    """Asks a network of many outputs twice."""
    own = _own(case, images)

    def compare(wide: keras.Model, enter: naming.Enter) -> tuple[Any, Any]:
        given = enter(own)
        first, again = (_all(wide(given, training=training)) for _ in range(2))
        return first, again

    return compare


def _alone(case: Case, images: tf.Tensor, training: bool) -> naming.Differ:
    """Asks a network of many outputs about an image in its batch, and alone."""
    own = _own(case, images)

    def compare(wide: keras.Model, enter: naming.Enter) -> tuple[Any, Any]:
        given = enter(own)
        whole = _all(wide(given, training=training))
        return [each[:1] for each in whole], _all(wide(given[:1], training=training))

    return compare


def _own(case: Case, images: tf.Tensor) -> tf.Tensor:
    return from_unit(images, case.own.bounds)


def _all(outputs: object) -> list[np.ndarray]:
    several = outputs if isinstance(outputs, list | tuple) else [outputs]
    return [np.asarray(each) for each in several]


def _is_dropout(layer: Any) -> bool:
    return "Dropout" in type(layer).__name__ or "Noise" in type(layer).__name__


def _is_half(network: object) -> bool:
    if not isinstance(network, keras.Model):
        return False
    layers = find_layers(network, keras.layers.Layer)
    return any(layer.compute_dtype in ("float16", "bfloat16") for layer in layers)
