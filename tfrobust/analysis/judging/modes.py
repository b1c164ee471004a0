"""Whether the model is in inference: asking leaves it as it was."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfrobust.analysis.judging import naming
from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.results import Check, check
from tfrobust.core.pixels import from_unit

_EXAMPLES = 8
_SAME = 1e-4
# What counts a generator's draws is no part of what a model has learnt.
_COUNTERS = "seed_generator_state"


def variables_check(case: Case) -> Check:
    """Whether asking the model changes any of its variables."""
    variables = list(_variables(case))
    before = [np.copy(each.numpy()) for each in variables]
    for count in (_EXAMPLES, 1):
        case.classifier(case.images[:count])
    changed = [
        variable
        for variable, value in zip(variables, before, strict=True)
        if not np.array_equal(variable.numpy(), value, equal_nan=True)
    ]
    names = ", ".join(_name(each) for each in changed[:2])
    return check(
        "variables",
        "asking the model does not change it",
        f"{len(changed)} of {len(variables)} variables change",
        bool(changed),
        f"asking the model changes its variables ({names})",
        "wrong",
    )


def inference_check(case: Case, at_random: bool, by_batch: bool) -> Check:
    """Whether the model answers as it does with `training=False`.

    Args:
        case: What is judged.
        at_random: Whether it answers at random.
        by_batch: Whether it depends on the batch.
    """
    images = from_unit(case.images[:_EXAMPLES], case.own.bounds)
    evidence, failed, reason = "no layers to look at", False, ""
    for network in naming.networks_in(case.given):
        evidence = "as with `training=False`"
        if isinstance(case.given, keras.Model):
            failed = not at_random and _differ(
                network(images), network(images, training=False)
            )
            reason = "called without `training` the model answers otherwise"
            reason += _named(network, images) if failed else ""
        elif at_random or by_batch:
            answer = case.classifier(case.images[:_EXAMPLES])
            trained = network(images, training=True)
            failed = not _differ(answer, trained) and _differ(
                answer, network(images, training=False)
            )
            reason = f"the network {network.name!r} is called with `training=True`"
        if failed:
            evidence = reason
            break
    outcome = "doubtful" if isinstance(case.given, keras.Model) else "wrong"
    title = "the model answers in inference"
    return check("inference", title, evidence, failed, reason, outcome)


def _named(network: keras.Model, images: Any) -> str:
    """The layer with which it begins that a mode differs, in brackets."""

    def compare(wide: keras.Model, enter: naming.Enter) -> tuple[Any, Any]:
        given = enter(images)
        left, right = wide(given), wide(given, training=False)
        return [np.asarray(each) for each in left], [np.asarray(each) for each in right]

    layer = naming.differing_layer(network, compare)
    if layer is None:
        return ""
    return f" (the layer {layer.name!r}, {type(layer).__name__})"


def _variables(case: Case) -> list[Any]:
    networks = naming.networks_in(case.given)
    found = [each for network in networks for each in network.variables]
    if not found:
        found = list(case.graph.graph.variables)
    return [each for each in found if _COUNTERS not in _name(each)]


def _name(variable: Any) -> str:
    return str(getattr(variable, "path", "") or variable.name)


def _differ(one: Any, other: Any) -> bool:
    both = [each if isinstance(each, dict) else {"": each} for each in (one, other)]
    return any(naming.differ(both[0][name], both[1][name], _SAME) for name in both[0])
