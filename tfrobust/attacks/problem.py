"""One batch under attack: the images, the goal, and the network that is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrobust.attacks.goal import Goal
from tfrobust.core.classifier import Classifier
from tfrobust.core.differentiable import missing_gradient, require_gradient
from tfrobust.core.loops import loop
from tfrobust.core.precision import powers
from tfrobust.core.vectors import spread

Score = Callable[[tf.Tensor, Goal], tf.Tensor]
"""Maps logits `[B, K]` and a goal to what is climbed, `[B]`."""

# A batch shrinks in so many steps: the convolutions prepare anew for each batch size.
_SIZES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """What a search works on.

    Attributes:
        classifier: Maps images `[B,H,W,C]` to float32 logits `[B,K]`, in inference
            mode.
        images: float32 `[B,H,W,C]` in [0, 1], the originals.
        goal: What to achieve for each image.
        eps: float32 `[B]`, radius for each image; `None` for attacks without one.
        active: bool `[B]`, the rows to work on.
        compact: Whether rows that are done are left out of the batch that the network
            sees. It needs shapes that vary, which XLA does not have.
        slopes: float32 `[B,H,W,C]`, the gradient of the attack's score at the images,
            where it was taken together with their logits; else `None`.
    """

    classifier: Classifier
    images: tf.Tensor
    goal: Goal
    eps: tf.Tensor | None
    active: tf.Tensor
    compact: bool
    slopes: tf.Tensor | None = None

    def logits(self, points: tf.Tensor, active: tf.Tensor) -> tf.Tensor:
        """Logits float32 `[B,K]` of the active rows; others may be zeros.

        Args:
            points: float32 `[B,H,W,C]`.
            active: bool `[B]`.
        """
        if not self.compact:
            return self.classifier(points)
        index = _chosen(active)
        return _spread(index, self.classifier(self._rows(points, index)), active)

    def gradient(
        self, points: tf.Tensor, score: Score, active: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Gradient of each active row's score in its own pixels, and the logits.

        Args:
            points: float32 `[B,H,W,C]`.
            score: What to differentiate.
            active: bool `[B]`. Other rows may get zeros for both.

        Returns:
            Gradients `[B,H,W,C]` and logits `[B,K]`.

        Raises:
            ValueError: If the logits do not depend on the images differentiably, or
                TensorFlow lacks a derivative on the way.
        """
        (gradient,), _, logits = self.gradients(points, [score], active)
        return gradient, logits

    def gradients(
        self, points: tf.Tensor, scores: list[Score], active: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor]:
        """Gradients of several scores for one forward pass; see `gradient`.

        Returns:
            For each score its gradients `[B,H,W,C]`; for each its values `[B]`; and the
            logits `[B,K]`.
        """
        if not self.compact:
            return _gradients(self.classifier, points, scores, self.goal)
        index = _chosen(active)
        rows, goal = self._rows(points, index), self.goal.rows(index)
        gradients, values, logits = _gradients(self.classifier, rows, scores, goal)
        spread = [_spread(index, gradient, active) for gradient in gradients]
        return (
            [tf.ensure_shape(gradient, points.shape) for gradient in spread],
            [_spread(index, value, active) for value in values],
            _spread(index, logits, active),
        )

    def _rows(self, points: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        shape = [None, *points.shape[1:]]
        return tf.ensure_shape(tf.gather(points, index), shape)


def steps_of(
    problem: Problem, count: int, step: Callable[[Problem, Any], Any], state: Any
) -> Any:
    """What so many steps make of a state; none where no row is active.

    Args:
        problem: What is searched.
        count: How many steps.
        step: Maps the problem and a state to the next.
        state: A named tuple of tensors, whose `number` counts the steps.
    """

    def is_needed(state: Any) -> tf.Tensor:
        return (state.number < count) & tf.reduce_any(problem.active)

    (last,) = loop(is_needed, lambda state: (step(problem, state),), (state,))
    return last


def _chosen(active: tf.Tensor) -> tf.Tensor:
    """Indices of the active rows, and of some others to fill up, int32 `[M]`."""
    size = tf.shape(active)[0]
    unit = -(-size // _SIZES)  # rounded up
    # At least one: convolutions of oneDNN fail on an empty batch.
    count = tf.maximum(1, tf.reduce_sum(tf.cast(active, tf.int32)))
    filled = tf.minimum(size, -(-count // unit) * unit)
    return tf.argsort(tf.cast(~active, tf.int32), stable=True)[:filled]


def _spread(index: tf.Tensor, rows: tf.Tensor, active: tf.Tensor) -> tf.Tensor:
    """Rows put back where they came from, zeros elsewhere, `[B,...]`."""
    shape = tf.concat([tf.shape(active), tf.shape(rows)[1:]], axis=0)
    return tf.scatter_nd(index[:, None], rows, shape)


def _gradients(
    classifier: Classifier, points: tf.Tensor, scores: list[Score], goal: Goal
) -> tuple[list[tf.Tensor], list[tf.Tensor], tf.Tensor]:
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(points)
        logits = classifier(points)
        values = [score(logits, goal) for score in scores]
        totals = [tf.reduce_sum(value) for value in values]
    require_gradient(points, logits)
    gradients = []
    for total in totals:
        # In two passes, of which the second may be in half precision: there the
        # cotangents of a confident answer would round to 0.
        cotangents = tape.gradient(total, logits, unconnected_gradients="zero")
        scales = powers(cotangents)
        gradient = tape.gradient(logits, points, cotangents * scales)
        if gradient is None:
            raise missing_gradient(classifier, points)
        gradients.append(gradient / spread(scales[:, 0], gradient))
    return gradients, values, logits


def inward(gradient: tf.Tensor, point: tf.Tensor) -> tf.Tensor:
    """The gradient without the entries that push a pixel out of [0, 1]."""
    out = ((point <= 0.0) & (gradient < 0.0)) | ((point >= 1.0) & (gradient > 0.0))
    return tf.where(out, tf.zeros_like(gradient), gradient)
