"""Gradient-norm regularisation (GradReg)."""

from __future__ import annotations

import tensorflow as tf

from tfrobust.core.vectors import squared_norms
from tfrobust.penalties.base import Penalty, StepContext, check_weight
from tfrobust.penalties.registry import register


@register("gradient_norm")
class GradientNorm(Penalty):
    """`weight * mean_i ||grad_x loss(f(x_i), y_i)||^2`.

    The gradient is that of each example's own cross-entropy, so the penalty does not
    depend on the batch size. With batch norm in training mode an example's loss also
    depends a little on its neighbours; as in the paper, the gradient is taken through
    the batch statistics too.

    Args:
        weight: Strength, at least 0. The default equals the released setting of the
            paper on this per-example definition (1e-3 * 1e5 / 128**2).

    Raises:
        ValueError: If `weight` is negative.

    Reference: Srinivas et al. 2022 (LCNN), section 5, GradReg; Drucker and LeCun 1992.

    Example:
        >>> from tfrobust import penalties
        >>> penalties.GradientNorm(6e-3).needs_input_gradient
        True
    """

    name = "gradient_penalty"
    needs_input_gradient = True

    def __init__(self, weight: float = 6.1e-3) -> None:
        self.weight = check_weight("weight", weight)

    def __call__(self, context: StepContext) -> tf.Tensor:
        """The penalty of this step, a float32 scalar."""
        return self.weight * context.mean(squared_norms(context.input_gradient))
