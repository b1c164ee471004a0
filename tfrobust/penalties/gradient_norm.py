"""Gradient-norm regularisation (GradReg)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrobust.core.keras_losses import ExampleLoss
from tfrobust.core.vectors import squared_norms
from tfrobust.penalties.base import Penalty, StepContext, check_weight
from tfrobust.penalties.registry import register


@register("gradient_norm")
class GradientNorm(Penalty):
    """`weight * mean_i ||grad_x loss(f(x_i), y_i)||^2`.

    The gradient is that of each example's own loss, by default the one that the model
    is trained with, so the penalty does not depend on the batch size. With batch norm
    in training mode an example's loss also depends a little on its neighbours; as in
    the paper, the gradient is taken through
    the batch statistics too.

    Args:
        weight: Strength, at least 0. The default equals the released setting of the
            paper on this per-example definition (1e-3 * 1e5 / 128**2).
        loss: Another loss to take the gradient of: a Keras loss, or a function like one
            of labels `[B]` and logits `[B, K]`. One that says `from_logits=False` gets
            the probabilities.

    Raises:
        ValueError: If `weight` is negative.

    Reference: Srinivas et al. 2022 (LCNN), section 5 (LCNN-R4); Drucker and LeCun 1992.

    Example:
        >>> from tfrobust import penalties
        >>> penalties.GradientNorm(6e-3).needs_input_gradient
        True
    """

    name = "gradient_penalty"

    def __init__(self, weight: float = 6.1e-3, loss: Any = None) -> None:
        self.weight = check_weight("weight", weight)
        self.loss = loss
        self._example_loss = None if loss is None else ExampleLoss(loss)
        self.needs_input_gradient = loss is None
        self.needs_pullback = loss is not None

    def __call__(self, context: StepContext) -> tf.Tensor:
        """The penalty of this step, a float32 scalar."""
        gradient = context.input_gradient
        if self._example_loss is not None:
            gradient = _gradient_of(self._example_loss, context)
        return self.weight * context.mean(squared_norms(gradient))


def _gradient_of(loss: ExampleLoss, context: StepContext) -> tf.Tensor:
    """The gradient of a loss of each example in its image, by way of the logits."""
    if context.pullback is None:
        raise ValueError(
            "`context.pullback` must be given, as `needs_pullback` asks. Received: None"
        )
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(context.logits)
        total = tf.reduce_sum(loss.of_logits(context.labels, context.logits))
    return context.pullback(tape.gradient(total, context.logits))
