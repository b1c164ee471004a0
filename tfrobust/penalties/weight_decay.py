"""Weight decay as the papers' code has it: an L2 term in the loss."""

from __future__ import annotations

import tensorflow as tf

from tfrobust.penalties.base import Penalty, StepContext, check_weight
from tfrobust.penalties.registry import register


@register("weight_decay")
class WeightDecay(Penalty):
    """`weight / 2 * sum ||w||^2` over the trainable weights, beta and gamma left out.

    Its gradient is `weight * w`, which then passes through the momentum: the
    `weight_decay` of PyTorch's SGD, and so of all four papers. The argument of that
    name of Keras optimisers is another thing: it subtracts `lr * weight_decay * w`
    beside the momentum, ten times weaker at momentum 0.9.

    Args:
        weight: Strength, at least 0.
        exclude: Names of weights that do not decay.

    Raises:
        ValueError: If `weight` is negative.

    Reference: Srinivas et al. 2022 (LCNN), section 5 (LCNN-S2).

    Example:
        >>> from tfrobust import penalties
        >>> penalties.WeightDecay(5e-4).weight
        0.0005
    """

    name = "weight_penalty"

    def __init__(
        self,
        weight: float = 5e-4,
        exclude: tuple[str, ...] = ("log_beta", "log_gamma"),
    ) -> None:
        self.weight = check_weight("weight", weight)
        self.exclude = tuple(exclude)

    def __call__(self, context: StepContext) -> tf.Tensor:
        """The penalty of this step, a float32 scalar."""
        squares = [
            tf.nn.l2_loss(variable.value)
            for variable in context.network.trainable_variables
            if variable.name not in self.exclude
        ]
        return self.weight * tf.reduce_sum(tf.stack(squares))
