"""Whether the attacks went on for long enough."""

from __future__ import annotations

import numpy as np

from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.claims import Claims
from tfrobust.analysis.judging.results import Check, check
from tfrobust.analysis.masking_report import MaskingReport, speaks
from tfrobust.core.estimates import mean

# By so much a result may move, as a share of the images.
_MOVED = 0.005


def convergence_check(case: Case, claims: Claims) -> Check:
    """Whether twice the steps and restarts break images that withstood."""
    rows, longer = case.standing(claims), case.assault.longer()
    newly = np.zeros(len(case.labels), bool)
    if len(rows):
        newly[rows] = case.attacked(longer, rows).success
    moved = mean(newly)
    evidence = (
        f"{longer.steps} steps from {longer.restarts} starts break {newly.sum()} of "
        f"the {len(rows)} images that withstood ({moved.value:.1%} of all)"
    )
    reason = f"more steps and restarts break {moved.value:.1%} more of the images"
    title = "more steps and restarts change nothing"
    return check("convergence", title, evidence, speaks(moved, _MOVED), reason)


def steps_check(report: MaskingReport) -> Check:
    """Whether many steps break at least as much as one."""
    sign = report.signs["single_step_beats_iterative"]
    reason = "a single step breaks more than many"
    title = "many steps break more than one"
    return check("steps", title, sign.reason, sign.present, reason)
