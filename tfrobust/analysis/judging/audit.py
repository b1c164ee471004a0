"""What an evaluation kept, measured again outside of the attack."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.claims import Claims
from tfrobust.analysis.judging.results import Check, check, idle
from tfrobust.analysis.masking_report import speaks
from tfrobust.attacks import AttackOutcome, Evaluation
from tfrobust.core.estimates import mean
from tfrobust.core.images import Pixels
from tfrobust.core.pixels import Bounds, to_unit

# As much as float32 rounds, twice.
_ROUNDING = 2e-6
# The share of images that rounding to 8 bits may save.
_SAVED = 0.1
_AUDIT = "audit", "kept images are in their ball and fool the model"
_ROUNDED = "rounding", "success survives rounding to 8 bits"


class Kept(NamedTuple):
    """What is wrong with the images that one attack kept, bool `[N]` each.

    Attributes:
        outside: Farther than the radius, out of the range, or no numbers.
        moved: Of another distortion than is said.
    """

    outside: np.ndarray
    moved: np.ndarray


def measured(outcome: AttackOutcome, given: np.ndarray, bounds: Bounds) -> Kept:
    """Norm and range of what an attack kept, in float64.

    Args:
        outcome: It has its images, within the bounds.
        given: The originals, `[N,H,W,C]` within the bounds.
        bounds: The range of the pixels.

    Example:
        >>> from tfrobust import attacks
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.9 - total], axis=-1)
        >>> evaluation = attacks.evaluate(model, (images, [0]), {
        ...     "fgsm": attacks.FGSM(norm="inf", eps=0.1)}, keep_images=True)
        >>> kept = measured(evaluation.results["fgsm"], images.numpy(), (0.0, 1.0))
        >>> kept.outside.tolist(), kept.moved.tolist()
        ([False], [False])
    """
    low, high = bounds
    found = (np.asarray(outcome.adversarial, np.float64) - low) / (high - low)
    start = (np.asarray(given, np.float64) - low) / (high - low)
    rows = (found - start).reshape(len(found), -1)
    distance = np.linalg.norm(rows, ord=outcome.threat.order, axis=1)
    flat = found.reshape(len(found), -1)
    # Written so that NaN is outside.
    within = (flat >= -_ROUNDING) & (flat <= 1.0 + _ROUNDING)
    inside = np.asarray(within.all(axis=1))
    if outcome.threat.eps is not None:
        inside &= distance <= outcome.threat.eps * (1.0 + _ROUNDING) + _ROUNDING
    apart = np.abs(distance - outcome.distortion)
    # Written so that NaN has moved.
    moved = np.logical_not(apart <= 1e-4 * (1.0 + outcome.distortion))
    return Kept(np.logical_not(inside), moved)


def audit_check(
    case: Case, evaluation: Evaluation, pixels: Pixels, at_random: bool
) -> Check:
    """Distance, range and success of every image that an evaluation kept.

    Args:
        case: What is judged.
        evaluation: With images, or without.
        pixels: Its images, N of them, for the model as given.
        at_random: Whether the model answers at random; then a success may not repeat.
    """
    kept = {
        name: outcome
        for name, outcome in evaluation.results.items()
        if outcome.adversarial is not None
    }
    if not kept:
        return idle(*_AUDIT, "the evaluation kept no images")
    count = len(evaluation.labels) * len(kept)
    outside = moved = other = 0
    differs = []
    for outcome in kept.values():
        found = measured(outcome, np.asarray(pixels.given), pixels.bounds)
        outside, moved = outside + found.outside.sum(), moved + found.moved.sum()
        fooled = _asked_again(case, outcome, pixels, evaluation.labels)
        differs.append((fooled != outcome.success) & ~found.outside)
        other += int(differs[-1].sum())
    evidence = (
        f"of {count} images {outside} are outside, {moved} of another distortion, "
        f"{other} of another success"
    )
    faults = [
        (outside > 0, f"{outside} of {count} kept images are outside of their ball"),
        (moved > 0, f"{moved} of {count} kept images are not as far away as said"),
        (
            speaks(mean(differs)),
            f"{other} of {count} kept images do not fare with the model as said",
        ),
    ]
    reasons = [reason for is_so, reason in faults if is_so]
    only_success = at_random and not (outside or moved)
    outcome_name = "doubtful" if only_success else "wrong"
    return check(*_AUDIT, evidence, bool(reasons), ", ".join(reasons), outcome_name)


def rounding_check(case: Case, claims: Claims) -> Check:
    """How many of the broken images withstand once they are rounded to 8 bits."""
    broken = claims.union()[case.correct]
    saved = broken & ~claims.union(rounded=True)[case.correct]
    share = mean(saved)
    evidence = f"{saved.sum()} of {broken.sum()} broken images withstand then"
    reason = f"{saved.sum()} of {broken.sum()} successes are lost by rounding to 8 bits"
    return check(*_ROUNDED, evidence, speaks(share, _SAVED), reason)


def _asked_again(
    case: Case, outcome: AttackOutcome, pixels: Pixels, labels: np.ndarray
) -> np.ndarray:
    given = tf.convert_to_tensor(outcome.adversarial, tf.float32)
    images = to_unit(given, pixels.bounds)
    safe = tf.where(tf.math.is_finite(images), images, 0.0)
    return case.fooled(safe, labels)
