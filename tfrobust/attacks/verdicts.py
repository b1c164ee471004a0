"""The verdict on what an attack returned, as found and rounded to 8 bits.

It is given outside of the search, from the image alone, so that no attack reports its
own success.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrobust.attacks.problem import Problem, Score
from tfrobust.attacks.threat import ThreatModel

# Pixels nearer than this differ by the rounding of a sum in float32.
_SAME = 2.0**-22


class AttackResult(NamedTuple):
    """The result of an attack for each image of a batch.

    Attributes:
        adversarial: float32 `[B, H, W, C]` in [0, 1].
        success: bool `[B]`. True where the model answers as the goal asks.
        distortion: float32 `[B]`. Distance from the original image in the attack's
            norm, in pixel units; 0 where the image is returned as it came.
        success_rounded: bool `[B]`. The same for the image rounded to 8 bits, as it is
            after it was saved.
        distortion_rounded: float32 `[B]`. Distance of the rounded image from the
            original. Rounding may leave the ball, by up to half a level in a pixel.
        already: bool `[B]`. True where the clean image already met the goal, such
            as a misclassified one; it is returned as it came and counts as a success.
        queries: int32 `[B]`. How often the search asked the model about each image,
            with or without a gradient; 0 where the attack does not count.
    """

    adversarial: tf.Tensor
    success: tf.Tensor
    distortion: tf.Tensor
    success_rounded: tf.Tensor
    distortion_rounded: tf.Tensor
    already: tf.Tensor
    queries: tf.Tensor


def verdict(
    problem: Problem,
    clean: tf.Tensor,
    points: tf.Tensor,
    queries: tf.Tensor,
    threat: ThreatModel,
    score: Score,
) -> AttackResult:
    """Judges the image that a search returned for each example of a batch.

    An image that left the ball, or is neither what the goal asks for nor nearer to it
    than the clean one, is replaced by the original.

    Args:
        problem: What was searched.
        clean: float32 `[B,K]`, logits of the original images.
        points: float32 `[B,H,W,C]` in [0, 1], what the search returned.
        queries: int32 `[B]`, how often it asked.
        threat: The norm, and the radius if there is one.
        score: What the attack climbs.

    Returns:
        Images, success and distortion of each example.
    """
    goal, images = problem.goal, problem.images
    logits = problem.logits(points, problem.active)
    reached = goal.reached(logits)
    better = reached | (score(logits, goal) > score(clean, goal))
    keep = better & problem.active & threat.allows(images, points, problem.eps)
    adversarial = tf.where(keep[:, None, None, None], points, images)
    success = ~problem.active | (keep & reached)
    rounded = tf.round(adversarial * 255.0) / 255.0
    # An image of 8 bits is its own rounding: what the model says of it is known.
    changed = tf.reduce_any(tf.abs(rounded - adversarial) > _SAME, axis=[1, 2, 3])
    reached_rounded = goal.reached(problem.logits(rounded, changed))
    return AttackResult(
        adversarial=adversarial,
        success=success,
        distortion=threat.distance(images, adversarial),
        success_rounded=tf.where(changed, reached_rounded, success),
        distortion_rounded=threat.distance(images, rounded),
        already=~problem.active,
        queries=queries,
    )
