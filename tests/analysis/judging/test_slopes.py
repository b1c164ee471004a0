"""Gradients of the cross-entropy against the formula, and where they are 0."""

import numpy as np
import tensorflow as tf

from tests.analysis.judging.cases import SIZE, answers, case, images, linear, weights
from tfrobust.analysis.judging.slopes import (
    cross_entropy_check,
    cross_entropy_gradients,
    margin_check,
)
from tfrobust.analysis.masking_report import MaskingReport, Sign
from tfrobust.attacks import ThreatModel
from tfrobust.core.estimates import mean


def test_they_are_those_of_the_formula():
    """`W (p - y)` in float64, for three classes."""
    pixels, model = images(5), linear(3)
    labels = answers(model, pixels)
    w = weights(3)
    logits = (pixels.reshape(5, SIZE).astype(np.float64) - 0.5) @ w
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    by_hand = (shares - np.eye(3)[labels]) @ w.T
    found = cross_entropy_gradients(case(model, pixels, labels)).reshape(5, SIZE)
    np.testing.assert_allclose(found, by_hand, atol=1e-5)


def test_logits_that_are_too_large():
    pixels = images(16)
    model, loud = linear(3), linear(3, scale=1e4)
    labels = answers(model, pixels)
    assert cross_entropy_check(case(model, pixels, labels)).outcome == "passed"
    found = cross_entropy_check(case(loud, pixels, labels))
    assert found.outcome == "doubtful"
    assert "a float32 cross-entropy has no gradient on 16 of 16 images" in found.reason


def test_what_is_not_finite_counts():
    pixels, model = images(8), linear(2)
    labels = answers(model, pixels)

    @tf.custom_gradient
    def broken(x):
        return x, lambda upstream: upstream * float("nan")

    found = cross_entropy_check(case(lambda x: model(broken(x)), pixels, labels))
    assert found.evidence == "0 of 8 are 0, 8 are not finite"
    assert found.failed


def test_without_a_gradient_there_is_nothing_to_say():
    pixels = images(4)
    model = linear(2, quantum=0.25)
    found = cross_entropy_check(case(model, pixels, answers(model, pixels)))
    assert found.outcome == "not applicable"


def test_no_gradient_at_all_needs_no_statistics():
    """Of one image no share speaks."""
    for model, outcome in (
        (linear(2), "passed"),
        (linear(2, quantum=0.1), "doubtful"),
    ):
        report = MaskingReport(
            threat=ThreatModel(2, 0.1),
            robust_accuracy={},
            growth={},
            vanishing=mean([1.0]),
            only_search=0,
            signs={"gradients_vanish": Sign(False, "the numbers")},
        )
        found = margin_check(case(model, images(1), np.zeros(1, np.int32)), report)
        assert found.outcome == outcome and found.evidence == "the numbers"
    assert (
        found.reason
        == "there is no gradient at all, as of a rounded input or a black box"
    )
