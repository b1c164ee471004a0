"""Back along the line from an adversarial image to the original, up to the boundary."""

from __future__ import annotations

import tensorflow as tf

from tfrobust.attacks.problem import Problem
from tfrobust.core.loops import loop
from tfrobust.core.vectors import spread

_STEPS = 3
# How far beyond a crossing a step aims, as a share of the line: rounding must not
# decide on which side the answer is.
_BEYOND = 1e-4


def nearer_on_segment(
    problem: Problem,
    points: tf.Tensor,
    before: tf.Tensor,
    beyond: tf.Tensor,
    active: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """A success that is nearer to the image, on the line to the one that is known.

    Three times the logits of the two classes that the ends are taken for are
    interpolated, the model is asked about a point just beyond where they cross, and
    that point becomes the one end or the other. The answer is never one that the
    model was not asked about.

    Args:
        problem: Images, goal and network of this batch.
        points: float32 `[B,H,W,C]`, successes in the rows that are active.
        before: float32 `[B,K]`, logits of the images.
        beyond: float32 `[B,K]`, logits of the points.
        active: bool `[B]`, the rows to work on; others are returned as they are.

    Returns:
        Points `[B,H,W,C]`, and how often the model was asked about each, int32 `[B]`.

    Reference: Croce and Hein 2020, https://arxiv.org/abs/1907.02044, final search.

    Example:
        >>> from tfrobust.attacks import Goal
        >>> images = tf.zeros([1, 1, 1, 1])
        >>> def model(x):
        ...     return tf.reshape(x, [-1, 1]) * [[-1.0, 1.0]] + [[0.5, 0.0]]
        >>> goal = Goal(tf.constant([0]), targeted=False)
        >>> active = tf.constant([True])
        >>> problem = Problem(
        ...     classifier=model, images=images, goal=goal, eps=None, active=active,
        ...     compact=False,
        ... )
        >>> far = tf.ones([1, 1, 1, 1])
        >>> ends = model(images), model(far)
        >>> point, asked = nearer_on_segment(problem, far, *ends, active)
        >>> round(float(point[0, 0, 0, 0]), 3), int(asked[0])  # 0.25 is the boundary
        (0.25, 3)
    """
    images = problem.images

    def at(place: tf.Tensor) -> tf.Tensor:
        moved = images + spread(place, images) * (points - images)
        # The far end bit for bit, since it is known to be a success.
        moved = tf.where(spread(place < 1.0, images), moved, points)
        return tf.clip_by_value(moved, 0.0, 1.0)

    def step(
        number: tf.Tensor,
        near: tf.Tensor,
        far: tf.Tensor,
        before: tf.Tensor,
        beyond: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        place = near + _crossing(before, beyond) * (far - near) + _BEYOND
        place = tf.minimum(place, far)
        logits = problem.logits(at(place), active)
        reached = problem.goal.reached(logits)
        return (
            number + 1,
            tf.where(reached, near, place),
            tf.where(reached, place, far),
            tf.where(reached[:, None], before, logits),
            tf.where(reached[:, None], logits, beyond),
        )

    def is_needed(number: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return (number < _STEPS) & tf.reduce_any(active)

    near = tf.zeros_like(before[:, 0])
    state = (tf.constant(0), near, tf.ones_like(near), before, beyond)
    _, _, far, *_ = loop(is_needed, step, state)
    far = tf.where(active, far, 1.0)
    return at(far), _STEPS * tf.cast(active, tf.int32)


def _crossing(before: tf.Tensor, beyond: tf.Tensor) -> tf.Tensor:
    """Where the classes of the two ends are even between them, from 0 to 1, `[B]`."""
    first = tf.argmax(before, axis=-1, output_type=tf.int32)
    last = tf.argmax(beyond, axis=-1, output_type=tf.int32)

    def lead(logits: tf.Tensor) -> tf.Tensor:
        ahead, behind = (
            tf.gather(logits, classes, axis=1, batch_dims=1)
            for classes in (last, first)
        )
        return ahead - behind

    behind, ahead = lead(before), lead(beyond)
    share = tf.math.divide_no_nan(-behind, ahead - behind)
    return tf.where(tf.math.is_finite(share), share, 1.0)
