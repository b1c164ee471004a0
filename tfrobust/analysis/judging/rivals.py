"""Attacks that know less: none of them may break what gradients do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.claims import Claims
from tfrobust.analysis.judging.drawing import draws_of
from tfrobust.analysis.judging.results import Check, check, idle
from tfrobust.analysis.masking_report import MaskingReport, speaks
from tfrobust.core.estimates import mean
from tfrobust.core.pixels import to_unit

# From the ball of each image; every other is at the edge of it.
_DRAWS = 32
_SEARCH = "black_box", "gradients break what a random search breaks"
_NOISE = "noise", "gradients break what noise breaks"
_TRANSFER = "transfer", "gradients break what images made on other models break"


def search_check(case: Case, report: MaskingReport) -> Check:
    """Whether random search breaks images that no gradient attack does.

    Args:
        case: What is judged.
        report: Of it.
    """
    sign = report.signs["search_beats_gradients"]
    reason = (
        f"a random search breaks {report.only_search} of {case.correct.sum()} images "
        "that gradient attacks miss"
    )
    return check(*_SEARCH, sign.reason, sign.present, reason)


def noise_check(case: Case, broken: np.ndarray) -> tuple[Check, np.ndarray]:
    """Whether random draws from the ball break images that gradient attacks do not.

    Args:
        case: What is judged.
        broken: bool `[N]`, what gradient attacks break.

    Returns:
        The check, and which images only noise breaks.
    """
    alone = np.zeros(len(case.labels), bool)
    rows = np.flatnonzero(case.correct & ~broken)
    if len(rows):
        draw = draws_of(case, rows)
        for number in range(_DRAWS):
            alone[rows] |= case.fooled(draw(number), case.labels[rows])
    share = mean(alone[case.correct])
    evidence = (
        f"{_DRAWS} draws break {alone.sum()} of the {len(rows)} images that gradient "
        "attacks do not"
    )
    reason = f"random noise breaks {alone.sum()} images that gradient attacks miss"
    return check(*_NOISE, evidence, speaks(share), reason), alone


def transfer_check(case: Case, broken: np.ndarray, surrogate: Any) -> Check:
    """Whether images made on other models break what gradients of this one do not.

    Args:
        case: What is judged.
        broken: bool `[N]`, what gradient attacks break.
        surrogate: A model of the same pixels and classes, several, or `None`.
    """
    if surrogate is None:
        return idle(*_TRANSFER, "no surrogate was given")
    several = isinstance(surrogate, Sequence)
    models = list(surrogate) if several else [surrogate]
    rows = np.flatnonzero(case.correct & ~broken)
    alone = np.zeros(len(case.labels), bool)
    for model in models if len(rows) else []:
        alone[rows] |= shown(case, rows, model)
    evidence = (
        f"those of {len(models)} break {alone.sum()} of the {len(rows)} images that "
        "gradient attacks do not"
    )
    reason = (
        f"images made on another model break {alone.sum()} that gradient attacks miss"
    )
    share = mean(alone[case.correct])
    return check(*_TRANSFER, evidence, speaks(share), reason)


def shown(case: Case, rows: np.ndarray, model: Any) -> np.ndarray:
    """Which images an attack on another model breaks on the one that is judged."""
    found = case.attacked(case.assault.transferred(), rows, model)
    images = to_unit(tf.constant(found.adversarial), case.pixels.bounds)
    return case.fooled(images, case.labels[rows])


def broken_by_gradients(claims: Claims, report: MaskingReport) -> np.ndarray:
    """What gradient attacks break, of the evaluation and of the report, bool `[N]`."""
    evaluation = report.evaluation
    rows = list(claims.by_gradient().values())
    if evaluation is not None:
        own = ("pgd", "bim", "fgsm")
        rows += [evaluation.results[name].success for name in own]
    return np.any(rows, axis=0)
