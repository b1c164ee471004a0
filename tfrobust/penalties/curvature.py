"""The curvature penalty of low-curvature networks, a function of beta and gamma."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrobust.layers import (
    LipschitzBatchNormalization,
    find_layers,
    learnable_activations,
)
from tfrobust.penalties.base import Penalty, StepContext, check_weight
from tfrobust.penalties.registry import register


@register("curvature")
class Curvature(Penalty):
    """`beta * sum_i beta_i + gamma * sum_j |log(gamma_j)|` over a network's layers.

    The product of Lipschitz constants and activation curvatures bounds the network's
    curvature whatever the data (Theorem 1 of the paper); this penalises its parts, at
    the cost of a few scalars.

    The paper keeps every gamma at 1 or above, where `log(gamma)`, which its equation 5
    has, and `|log(gamma)|` are one number, and the penalty is never negative. Here, as
    in the authors' code, a layer lets its gamma fall below 1, and the absolute value
    (LCNN-R3) makes 1 the best that the penalty knows. Without it smaller and smaller
    gammas would be rewarded without bound.

    The defaults are the weights that made the paper's Table 1 (LCNN-R1); its text gives
    none. At weight w an unopposed beta falls like `1 / (1/5 + w * steps)` (from 5, at
    learning rate 0.1 and momentum 0.9): with ten times the default every activation is
    all but linear within a few epochs, before the cross-entropy can defend it.
    `docs/results/lcnn.md` has the measured trade-off.

    Args:
        beta: Weight of the sum of betas, at least 0. 0 leaves the betas alone.
        gamma: Weight of the sum of `|log(gamma)|`, at least 0. 0 leaves the gammas
            alone.
        absolute: `False` penalises `log(gamma)` itself, which has no lower bound: to
            repeat a training of this library that was made so.

    Raises:
        ValueError: If a weight is negative, or, on `compile`, if the network has
            neither a learnable beta nor a gamma.

    Reference: Srinivas et al. 2022 (LCNN), section 3.5, equation 5 (LCNN-E5).

    Example:
        >>> from tfrobust import models, penalties
        >>> network = models.MLP((2,), classes=2, hidden=(8,), variant="lcnn")
        >>> penalty = penalties.Curvature(beta=1e-2, gamma=0.0)  # the betas alone
        >>> round(float(penalty.value(network)), 4)
        0.05
    """

    name = "curvature_penalty"

    def __init__(
        self, beta: float = 1e-3, gamma: float = 1e-3, *, absolute: bool = True
    ) -> None:
        self.beta = check_weight("beta", beta)
        self.gamma = check_weight("gamma", gamma)
        self.absolute = bool(absolute)

    def check(self, network: keras.Model) -> None:
        """Raises `ValueError` unless the network has a learnable beta or a gamma."""
        if not learnable_activations(network) and not _norms(network):
            raise ValueError(
                "`penalties` holds Curvature, which needs a network with a learnable "
                "CenteredSoftplus or a LipschitzBatchNormalization, such as "
                f"variant='lcnn'. Received: network={network.name!r}"
            )

    def value(self, network: keras.Model) -> tf.Tensor:
        """The penalty of a network's current weights, a float32 scalar."""
        betas = [layer.beta for layer in learnable_activations(network)]
        logs = [
            tf.convert_to_tensor(layer.log_gamma.value) for layer in _norms(network)
        ]
        if self.absolute:
            logs = [tf.abs(log_gamma) for log_gamma in logs]
        return self.beta * _sum(betas) + self.gamma * _sum(logs)

    def __call__(self, context: StepContext) -> tf.Tensor:
        """The penalty of this step, a float32 scalar."""
        return self.value(context.network)


def _norms(network: keras.Model) -> list[LipschitzBatchNormalization]:
    return find_layers(network, LipschitzBatchNormalization)


def _sum(scalars: list[Any]) -> tf.Tensor:
    # Stacked, since TensorFlow may reorder a chain of additions from run to run.
    return tf.reduce_sum(tf.stack(scalars)) if scalars else tf.constant(0.0)
