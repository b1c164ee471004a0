"""Accuracy over radii: falling, flat, rising."""

import numpy as np
import pytest

from tfrobust.analysis.judging.radii import growth_check, unbounded_check
from tfrobust.analysis.masking_attacks import growth_name
from tfrobust.analysis.masking_report import MaskingReport, Sign
from tfrobust.attacks import AttackOutcome, Evaluation, ThreatModel
from tfrobust.core.estimates import Estimate, mean


def report(shares, radii=(0.05, 0.1, 0.2, 0.4, 0.8, 1.0), count=20):
    """So many of 20 images withstand at each radius."""
    names = ["pgd", *(growth_name(radius) for radius in radii[1:])]
    blank = np.zeros(count)
    results = {
        name: AttackOutcome(
            threat=ThreatModel("inf", radius),
            success=np.arange(count) >= share,
            distortion=blank,
            success_rounded=blank > 0,
            distortion_rounded=blank,
            already=blank > 0,
            queries=blank.astype(np.int32),
            adversarial=None,
        )
        for name, radius, share in zip(names, radii, shares, strict=True)
    }
    evaluation = Evaluation(
        labels=blank.astype(int), clean_correct=blank == 0, results=results
    )
    growth = {r: mean(np.arange(count) < s) for r, s in zip(radii, shares, strict=True)}
    growth.pop(radii[0])
    return MaskingReport(
        threat=ThreatModel("inf", radii[0]),
        robust_accuracy={},
        growth=growth,
        vanishing=Estimate(0.0, 0.0),
        only_search=0,
        signs={"unbounded_attack_fails": Sign(shares[-1] > 4, "by hand")},
        evaluation=evaluation,
    )


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        ([15, 9, 4, 1, 0, 0], ""),
        ([15, 15, 15, 15, 15, 0], "accuracy is the same at eps 0.05 and 0.8"),
        ([15, 15, 15, 15, 14, 0], "accuracy is the same at eps 0.05 and 0.8"),
        ([15, 3, 10, 1, 0, 0], "accuracy rises from eps 0.1 to 0.2"),
        ([15, 9, 10, 1, 0, 0], ""),
        ([0, 0, 0, 0, 0, 0], ""),
    ],
)
def test_accuracy_over_radii(shares, reason):
    found = growth_check(report(shares))
    assert found.reason == reason
    assert found.evidence.startswith(f"{shares[0] / 20:.1%} at 0.05, ")


def test_tiny_radii_may_do_nothing():
    radii = (0.001, 0.002, 0.004, 0.008, 0.016, 1.0)
    assert growth_check(report([15] * 5 + [0], radii)).outcome == "passed"


def test_a_ball_like_the_box_has_no_growth():
    assert growth_check(report([3, 0], (0.7, 1.0))).outcome == "not applicable"


def test_what_withstands_everything():
    found = unbounded_check(report([15] * 6))
    assert found.reason == "75% withstand gradient attacks without any bound"
    assert not unbounded_check(report([15, 9, 4, 1, 0, 0])).failed
