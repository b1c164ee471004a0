"""Gradients that look like classes are no robustness, if only they fail."""

from __future__ import annotations

import numpy as np

from tfrobust.analysis.alignments import alignment
from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.results import Check, check, idle
from tfrobust.analysis.masking_report import speaks
from tfrobust.core.estimates import mean
from tfrobust.pag import OneImage

_EXAMPLES = 8
# Cosine in thousands of dimensions; that of plain networks is about 0.01.
_HIGH = 0.1
_CHECK = "aligned", "gradients that point at classes are no masks"


def aligned_check(case: Case, alone: np.ndarray) -> Check:
    """Whether gradients point at images of the classes, and only gradients fail.

    Args:
        case: What is judged.
        alone: bool `[N]`, what attacks without a gradient break and others do not.

    Reference: Ganz et al. 2023 (PAG), whose networks are trained for such gradients.
    """
    if not case.differentiable:
        return idle(*_CHECK, "the model has no gradient")
    if len(np.unique(case.labels)) < case.classes:
        return idle(*_CHECK, "not every class has an image")
    directions = OneImage(case.images, case.labels, case.classes)
    shown = case.pixels.given[:_EXAMPLES]
    found = alignment(case.model, shown, directions, bounds=case.pixels.bounds)
    cosine = found.means()["cosine"].value
    evidence = f"a cosine of {cosine:.3f} with an image of each class"
    if not cosine > _HIGH:
        return idle(*_CHECK, f"{evidence}: they do not")
    evidence += f"; attacks without gradients break {alone.sum()} images alone"
    reason = "gradients are aligned, and only attacks that follow them fail"
    failed = speaks(mean(alone[case.correct]))
    return check(*_CHECK, evidence, failed, reason)
