"""Kept images are measured again, and forged ones found."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.judging.cases import answers, case, images, linear
from tfrobust.analysis.judging.audit import audit_check, measured, rounding_check
from tfrobust.analysis.judging.claims import Claims
from tfrobust.attacks import FGSM, evaluate
from tfrobust.core.images import pixels_in


@functools.cache
def kept(norm=2, eps=0.2):
    pixels, model = images(12), linear(2)
    labels = answers(model, pixels)
    attack = {"fgsm": FGSM(norm=norm, eps=eps)}
    evaluation = evaluate(model, (pixels, labels), attack, keep_images=True)
    return pixels, model, labels, evaluation


def with_images(evaluation, adversarial):
    outcome = dataclasses.replace(
        evaluation.results["fgsm"], adversarial=np.asarray(adversarial)
    )
    return dataclasses.replace(evaluation, results={"fgsm": outcome})


def audited(pixels, model, labels, evaluation, at_random=False):
    given = case(model, pixels, labels, norm=2, eps=0.2, evaluation=evaluation)
    return audit_check(given, evaluation, pixels_in(tf.constant(pixels)), at_random)


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_norms_are_those_by_hand(norm):
    pixels, _, _, evaluation = kept(norm, 0.05)
    outcome = evaluation.results["fgsm"]
    found = outcome.adversarial.copy()
    delta = (found - pixels).astype(np.float64).reshape(12, -1)
    by_hand = {1: np.abs(delta).sum(1), 2: np.sqrt((delta**2).sum(1))}
    distance = by_hand.get(norm, np.abs(delta).max(1))
    found[0] = pixels[0] + 1.01 * (found[0] - pixels[0])  # a hundredth too far
    found[1, 0, 0, 0] = np.nan
    found[2, 0, 0, 0] = -0.001
    forged = dataclasses.replace(outcome, adversarial=found)
    audit = measured(forged, pixels, (0.0, 1.0))
    touched = distance[0] > 0.9 * 0.05
    assert audit.outside.tolist() == [bool(touched), True, True] + [False] * 9
    assert not measured(outcome, pixels, (0.0, 1.0)).outside.any()
    assert not measured(outcome, pixels, (0.0, 1.0)).moved.any()
    # In bytes the same images are as far away, in units of [0, 1].
    bytes_ = dataclasses.replace(outcome, adversarial=255 * outcome.adversarial)
    assert not measured(bytes_, 255 * pixels, (0.0, 255.0)).outside.any()


def test_an_honest_evaluation_passes():
    found = audited(*kept())
    assert found.outcome == "passed"
    assert found.evidence == (
        "of 12 images 0 are outside, 0 of another distortion, 0 of another success"
    )


def test_images_outside_of_the_ball():
    pixels, model, labels, evaluation = kept()
    adversarial = evaluation.results["fgsm"].adversarial.copy()
    adversarial[3] = np.clip(1.0 - pixels[3], 0, 1)
    found = audited(pixels, model, labels, with_images(evaluation, adversarial))
    assert found.outcome == "wrong"
    assert found.reason.startswith("1 of 12 kept images are outside of their ball")


def test_success_that_is_none():
    """Images that are said to withstand, and do not: of 12, 6."""
    pixels, model, labels, evaluation = kept(eps=0.3)
    outcome = evaluation.results["fgsm"]
    rows = np.flatnonzero(outcome.success)[:6]
    assert len(rows) == 6
    success = outcome.success.copy()
    success[rows] = False
    forged = dataclasses.replace(
        evaluation, results={"fgsm": dataclasses.replace(outcome, success=success)}
    )
    found = audited(pixels, model, labels, forged)
    assert found.outcome == "wrong"
    assert found.reason == "6 of 12 kept images do not fare with the model as said"
    assert audited(pixels, model, labels, forged, True).outcome == "doubtful"


def test_nothing_was_kept():
    pixels, model, labels, evaluation = kept()
    outcome = dataclasses.replace(evaluation.results["fgsm"], adversarial=None)
    bare = dataclasses.replace(evaluation, results={"fgsm": outcome})
    assert audited(pixels, model, labels, bare).outcome == "not applicable"


@pytest.mark.parametrize(("lost", "failed"), [(1, False), (6, True)])
def test_rounding_takes_successes_away(lost, failed):
    pixels, model = images(12), linear(2)
    given = case(model, pixels, answers(model, pixels))
    rounded = np.arange(12) >= lost
    claims = Claims(broken={"a": np.ones(12, bool)}, rounded={"a": rounded})
    found = rounding_check(given, claims)
    assert found.failed == failed
    assert found.evidence == f"{lost} of 12 broken images withstand then"
