"""What larger balls do: accuracy falls, and reaches 0 where any image may be shown."""

from __future__ import annotations

import itertools

import numpy as np

from tfrobust.analysis.judging.results import Check, check, idle
from tfrobust.analysis.masking_attacks import growth_name
from tfrobust.analysis.masking_report import MaskingReport, speaks
from tfrobust.core.estimates import mean

# From so large a share of the box on accuracy must have fallen.
_LARGE = 1.0 / 8.0
_GROWTH = "growth", "accuracy falls as the ball grows"


def unbounded_check(report: MaskingReport) -> Check:
    """Whether a gradient attack breaks every image where any image may be shown."""
    sign = report.signs["unbounded_attack_fails"]
    left = list(report.growth.values())[-1]
    return check(
        "unbounded",
        "an attack without a bound breaks every image",
        sign.reason,
        sign.present,
        f"{left.value:.0%} withstand gradient attacks without any bound",
    )


def growth_check(report: MaskingReport) -> Check:
    """Whether accuracy neither rises nor stays as the radius grows.

    That it stays counts only where the radii get to an eighth of the box: a network may
    well withstand tiny ones alike.
    """
    held = _held(report)
    radii = list(held)
    evidence = ", ".join(f"{held[r].mean():.1%} at {r:.3g}" for r in radii)
    rises = [
        (low, high)
        for low, high in itertools.pairwise(radii)
        if speaks(mean(held[high].astype(int) - held[low].astype(int)))
    ]
    if rises:
        low, high = rises[0]
        reason = f"accuracy rises from eps {low:.3g} to {high:.3g}"
        return check(*_GROWTH, evidence, True, reason)
    if len(radii) < 3:
        return idle(*_GROWTH, f"the ball is nearly as large as the box: {evidence}")
    first, last = radii[0], radii[-2]
    if last < _LARGE * radii[-1]:
        return check(*_GROWTH, evidence, False, "")
    fell = held[first].astype(int) - held[last].astype(int)
    flat = speaks(mean(held[first])) and not speaks(mean(fell))
    reason = f"accuracy is the same at eps {first:.3g} and {last:.3g}"
    return check(*_GROWTH, evidence, flat, reason)


def _held(report: MaskingReport) -> dict[float, np.ndarray]:
    """Which images withstand plain PGD, by radius in rising order, bool `[N]`."""
    evaluation = report.evaluation
    if evaluation is None:
        raise ValueError("`report` must hold its evaluation. Received: None")
    names = {report.threat.eps or 0.0: "pgd"}
    names |= {radius: growth_name(radius) for radius in report.growth}
    return {radius: evaluation.withstood([name]) for radius, name in names.items()}
