"""TRADES: an accurate network whose prediction does not move under attack."""

from __future__ import annotations

import tensorflow as tf

from tfrobust.attacks import PGD, Attack
from tfrobust.attacks.goal import divergence
from tfrobust.penalties.base import Penalty, StepContext, check_weight


class Trades(Penalty):
    """`weight * mean_i KL(f(x_i) || f(x'_i))`, x' where an attack moves the prediction.

    The cross-entropy stays that of the clean images. The attack looks for the largest
    divergence from the clean prediction with the network in inference mode; then the
    perturbed batch passes through it in training mode, as the clean one did, so batch
    norm sees each of them. Gradients flow through both predictions, none through the
    search. Divergences are computed from logits: no probability is clamped.

    Args:
        weight: Strength, at least 0; the paper's is 6 on CIFAR-10.
        attack: What looks for x'; by default the paper's for CIFAR-10, L-infinity at
            0.031 with 10 steps of 0.007, of which the last point counts.
            `PGD(loss="kl")` is what the paper has; any other attack is allowed.

    Raises:
        ValueError: If `weight` is negative or `attack` is none.

    Reference: Zhang et al. 2019, https://arxiv.org/abs/1901.08573, equation 5 and
    algorithm 1.

    Example:
        >>> from tfrobust import attacks, penalties
        >>> attack = attacks.PGD(norm=2, eps=0.1, steps=3, loss="kl")
        >>> penalties.Trades(6.0, attack).weight
        6.0
    """

    name = "trades_penalty"

    def __init__(self, weight: float = 6.0, attack: Attack | None = None) -> None:
        self.weight = check_weight("weight", weight)
        if attack is None:
            attack = PGD(
                norm="inf",
                eps=0.031,
                steps=10,
                step_size=0.007,
                loss="kl",
                keep_best=False,
            )
        if not hasattr(attack, "perturb"):
            raise ValueError(
                "`attack` must be an attack from `tfrobust.attacks`. "
                f"Received: attack={attack!r}"
            )
        self.attack = attack

    def __call__(self, context: StepContext) -> tf.Tensor:
        """The penalty of this step, a float32 scalar."""
        images = self.attack.perturb(context.network, context.images, context.labels)
        moved = tf.cast(context.network(images, training=True), tf.float32)
        return self.weight * context.mean(divergence(context.logits, moved))
