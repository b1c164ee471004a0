"""Automatic derivatives against finite differences, along a few directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.results import Check, check, idle
from tfrobust.analysis.masking_report import speaks
from tfrobust.attacks import Goal
from tfrobust.core.classifier import split_logits
from tfrobust.core.estimates import mean
from tfrobust.core.gradients import values_and_gradient

_EXAMPLES = 8
# Lengths of a step in the L2 norm: short ones drown in rounding, long ones bend. What
# counts is that one of them agrees.
_STEPS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
_RANDOM = 2
# How far two derivatives may be apart, as a share of the larger one.
_APART = 0.2
# Rounding of float32 logits, some operations deep, as a share of the largest.
_ROUNDING = 1e-6
# What moves a value: so many times its rounding.
_MOVES = 4.0
_CHECK = "finite_differences", "gradients are those of finite differences"

Values = Callable[[tf.Tensor], tf.Tensor]


def differences_check(case: Case, at_random: bool) -> Check:
    """Whether the gradient of the margin is what finite differences say.

    Args:
        case: What is judged.
        at_random: Whether the model answers at random, and has no differences.
    """
    if at_random:
        return idle(*_CHECK, "the model answers at random")
    rows = np.flatnonzero(case.correct)[:_EXAMPLES]
    images = tf.gather(case.images, rows)
    labels = tf.constant(case.labels[rows])
    logits = case.classifier(images)
    rival = tf.argmax(split_logits(logits, labels)[1], axis=-1, output_type=tf.int32)
    goal = Goal(rival, targeted=True)

    def values(points: tf.Tensor) -> tf.Tensor:
        # The lead of the label over one class: the margin without its kinks.
        answers = case.classifier(points)
        own = tf.gather(answers, labels, axis=1, batch_dims=1)
        return own - tf.gather(answers, goal.classes, axis=1, batch_dims=1)

    noise = _ROUNDING * float(np.abs(logits).max())
    apart = disagreement(values, images, noise, case.assault.seed)
    off = apart > _APART
    evidence = (
        f"on {off.sum()} of {len(off)} images they differ by more than {_APART:.0%}, "
        f"by {np.median(apart):.1%} in the middle"
    )
    reason = (
        f"gradients are not those of finite differences on {off.sum()} of {len(off)} "
        "images"
    )
    return check(*_CHECK, evidence, speaks(mean(off)), reason)


def disagreement(
    values: Values, images: tf.Tensor, noise: float, seed: int = 0
) -> np.ndarray:
    """How far derivatives are from finite differences, float64 `[B]` from 0 to 1.

    Central differences along the gradient, its signs, and random directions. Of several
    lengths of a step the one that agrees best counts, among those that move the value
    by more than its rounding, and of the directions the worst. So a step that is too
    short to leave a level of a rounded input does not make its gradient of 0 a true
    one, and a gradient that is passed straight through such a step is not a wrong one.
    Steps on which a value is no finite number are left out; where all are, nothing is
    held against the gradient.

    Args:
        values: From images `[B,H,W,C]` to a number for each.
        images: float32 `[B,H,W,C]`. Points next to them may leave [0, 1].
        noise: How much values may be off by rounding.
        seed: Of the directions.

    Example:
        >>> square = lambda x: tf.reduce_sum(x**2, axis=[1, 2, 3])
        >>> float(disagreement(square, tf.fill([1, 2, 2, 1], 0.5), 1e-6)[0]) < 1e-3
        True
    """
    gradient = np.asarray(values_and_gradient(values, images)[1], np.float64)
    gradient = np.where(np.isfinite(gradient), gradient, 0.0)
    draw = np.random.default_rng(seed)
    directions = [gradient, np.sign(gradient)]
    directions += [draw.normal(size=gradient.shape) for _ in range(_RANDOM)]
    # The root mean square of derivatives along random directions.
    entries = gradient[0].size
    usual = np.sqrt(np.sum(gradient**2, axis=(1, 2, 3)) / entries)
    worst = np.zeros(len(gradient))
    for direction in directions:
        unit = _unit(direction)
        slope = np.sum(gradient * unit, axis=(1, 2, 3))
        best, still = np.ones(len(gradient)), np.ones(len(gradient), bool)
        known = np.zeros(len(gradient), bool)
        for step in _STEPS:
            ahead, behind = (
                np.asarray(
                    values(images + tf.constant(side * step * unit, tf.float32)),
                    np.float64,
                )
                for side in (1.0, -1.0)
            )
            finite = np.isfinite(ahead) & np.isfinite(behind)
            known |= finite
            ahead, behind = (np.where(finite, side, 0.0) for side in (ahead, behind))
            found = (ahead - behind) / (2.0 * step)
            moves = np.abs(found) * step > _MOVES * noise
            apart = _relative(found, slope, noise / step, usual)
            best = np.where(moves, np.minimum(best, apart), best)
            still &= ~moves
        # Along a direction in which nothing moves a gradient has to be as small.
        apart = _relative(0.0 * slope, slope, _MOVES * noise / _STEPS[-1], usual)
        worst = np.maximum(worst, np.where(known, np.where(still, apart, best), 0.0))
    return worst


def _relative(
    found: np.ndarray, slope: np.ndarray, noise: float, usual: np.ndarray
) -> np.ndarray:
    """Difference as a share of the largest of both and of what is usual; at most 1.

    0 within the noise. A direction that happens to lie along a level line has a
    derivative near 0, of which the kinks of a ReLU network are a large share.
    """
    apart = np.maximum(np.abs(found - slope) - noise, 0.0)
    larger = np.maximum(np.maximum(np.abs(found), np.abs(slope)), usual)
    share = np.divide(apart, larger, out=np.zeros_like(apart), where=larger > 0.0)
    return np.minimum(share, 1.0)


def _unit(direction: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.sum(direction**2, axis=(1, 2, 3), keepdims=True))
    return np.divide(direction, norms, out=np.zeros_like(direction), where=norms > 0.0)
