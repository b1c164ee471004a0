"""What a model answers with: logits or not, and of how many classes."""

from __future__ import annotations

import keras
import numpy as np

from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.results import Check, check
from tfrobust.core.keras_graph import ends_in_softmax, is_graph

# With so many classes a targeted difference of logits ratio is defined.
_ENOUGH = 4


def logits_check(case: Case) -> Check:
    """Whether the model answers with logits, or ends in a softmax that is seen.

    In float32 the cross-entropy of probabilities has no gradient from a margin of 17
    on, that of logits from 100 on.
    """
    logits = case.logits(case.images[:8])
    evidence = f"answers from {logits.min():.3g} to {logits.max():.3g}"
    if not case.probabilities and _softmax(case.network):
        evidence += ", read before the softmax at the end"
    reason = "probabilities for logits, which hide the gradient of a sure answer"
    title = "answers are logits, not probabilities"
    return check("logits", title, evidence, case.probabilities, reason, "wrong")


def classes_check(case: Case) -> Check:
    """How many classes there are; fewer than four is said, not held against it."""
    evidence = f"{case.classes} classes"
    if case.classes < _ENOUGH:
        evidence += (
            "; a targeted difference of logits ratio needs 4, and falls back to the "
            "margin"
        )
    return check("classes", "losses fit the number of classes", evidence, False, "")


def finite_check(case: Case) -> Check:
    """Whether every answer is a finite number."""
    logits = case.logits(case.images)
    bad = int(np.sum(~np.isfinite(logits).all(axis=1)))
    return check(
        "finite",
        "answers are finite",
        f"{bad} of {len(logits)} are not",
        bad > 0,
        f"{bad} of {len(logits)} answers are not finite",
        "wrong",
    )


def _softmax(network: object) -> bool:
    is_keras = isinstance(network, keras.Model) and is_graph(network)
    return is_keras and bool(ends_in_softmax(network))
