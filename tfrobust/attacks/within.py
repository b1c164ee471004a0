"""A radius for attacks that look for the smallest perturbation."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tfrobust.attacks.base import Attack, FixedBudget
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.problem import Problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class Within(FixedBudget):
    """An attack without a radius that is done with an image once it is near enough.

    Attributes:
        norm: That of the attack.
        eps: Radius of the ball in pixel units of [0, 1].
        attack: An attack that minimises and heeds the radius of a `Problem`, as `FAB`
            does.

    Example:
        >>> from tfrobust import attacks
        >>> Within(norm=2, eps=0.5, attack=attacks.FAB(norm=2)).budget
        0.5
    """

    attack: Attack

    def score(self, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
        """That of the attack."""
        return self.attack.score(logits, goal)

    def run(self, problem: Problem) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """The attack's search, with a radius."""
        return self.attack.run(problem)
