"""Gradients that are 0 or no number: of the margin, and of the cross-entropy."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import any_number, in_batches, traced
from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.results import Check, check, idle
from tfrobust.analysis.masking_report import MaskingReport, speaks
from tfrobust.core.classifier import as_classifier
from tfrobust.core.estimates import mean
from tfrobust.core.gradients import values_and_gradient

_CROSS_ENTROPY = "cross_entropy", "the cross-entropy has gradients, in float32"


def margin_check(case: Case, report: MaskingReport) -> Check:
    """Whether the margin has gradients that lead somewhere."""
    sign = report.signs["gradients_vanish"]
    reason = f"gradients vanish on {report.vanishing.value:.0%} of the images"
    failed = sign.present
    # That is known of the model, and no matter of how many images there are.
    if not case.differentiable:
        reason = "there is no gradient at all, as of a rounded input or a black box"
        failed = True
    title = "the margin has gradients that lead somewhere"
    return check("gradients", title, sign.reason, failed, reason)


def cross_entropy_check(case: Case) -> Check:
    """Whether the cross-entropy of the logits has gradients in float32.

    Attacks of this library climb log-odds, which do not saturate; most others climb
    this, and find nothing of a network whose logits are very large.
    """
    if not case.differentiable:
        return idle(*_CROSS_ENTROPY, "the model has no gradient")
    gradient = cross_entropy_gradients(case)
    flat = gradient.reshape(len(gradient), -1)
    finite = np.isfinite(flat).all(axis=1)
    zero = (flat == 0.0).all(axis=1)
    dead = (zero | ~finite)[case.correct]
    evidence = (
        f"{zero[case.correct].sum()} of {dead.size} are 0, "
        f"{(~finite)[case.correct].sum()} are not finite"
    )
    largest = np.abs(case.logits(case.images[:8])).max()
    reason = (
        f"a float32 cross-entropy has no gradient on {dead.sum()} of {dead.size} "
        f"images, as logits are as large as {largest:.0f}"
    )
    return check(*_CROSS_ENTROPY, evidence, speaks(mean(dead)), reason)


def cross_entropy_gradients(case: Case) -> np.ndarray:
    """Of every image, float32 `[N,H,W,C]`; as other libraries compute them."""
    labels = tf.constant(case.labels)

    def gradient(images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        classifier = as_classifier(case.model, case.pixels.bounds)

        def loss(points: tf.Tensor) -> tf.Tensor:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(
                classes, classifier(points)
            )

        return values_and_gradient(loss, images)[1]

    graph = traced(gradient, any_number(case.images), any_number(labels))
    return in_batches(
        lambda rows: graph(case.images[rows], labels[rows]),
        len(case.labels),
        case.batch_size,
    )
