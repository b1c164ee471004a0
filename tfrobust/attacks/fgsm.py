"""The fast gradient sign method and its iterations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrobust.attacks.base import FixedBudget
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.pgd import LOSSES, PGD
from tfrobust.attacks.problem import Problem, inward
from tfrobust.attacks.registry import register
from tfrobust.core.keras_losses import is_loss
from tfrobust.settings import require


class _Gradient(FixedBudget):
    """An attack that is projected gradient descent from the image itself."""

    loss: str | Callable[..., Any]

    def __post_init__(self) -> None:
        """Check the settings."""
        allowed = tuple(loss for loss in LOSSES if loss != "kl")
        if not is_loss(self.loss):
            words = f"a Keras loss or one of {allowed}"
            require(self.loss in allowed, "loss", self.loss, words)
        _ = self.pgd

    @property
    def pgd(self) -> PGD:
        """The same attack in the terms of PGD."""
        raise NotImplementedError

    def score(self, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
        """The loss that is climbed, float32 `[B]`."""
        return self.pgd.score(logits, goal)

    def run(self, problem: Problem) -> tf.Tensor:
        """Steps from the image along the gradient."""
        return self.pgd.run(problem)


@register("fgsm")
@dataclasses.dataclass(frozen=True, kw_only=True)
class FGSM(_Gradient):
    """The fast gradient (sign) method: one step to the edge of the ball.

    Costs one gradient, which also tells which images need no attack, and at most two
    forward passes that judge the step, before and after rounding to 8 bits.

    Attributes:
        eps: Radius of the ball in pixel units of [0, 1].
        norm: `"inf"` (the step is the sign of the gradient), 1 or 2.
        loss: As for `PGD`.

    Raises:
        ValueError: If a setting is out of range.

    Reference: Goodfellow et al. 2015, https://arxiv.org/abs/1412.6572.

    Example:
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.75 - total], axis=-1)
        >>> result = FGSM(eps=0.125)(model, images, tf.constant([0]))
        >>> result.adversarial.numpy().ravel().tolist()
        [0.375, 0.375, 0.375, 0.375]
    """

    norm: float | str = "inf"
    loss: str | Callable[..., Any] = "cross_entropy"

    @property
    def pgd(self) -> PGD:
        """One step that leaves the ball, and back to its edge, whatever the radius."""
        return PGD(
            norm=self.norm,
            eps=self.eps,
            steps=1,
            random_start=False,
            loss=self.loss,
            early_stop=False,
        )

    def first_look(self, problem: Problem) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The logits and the one gradient, in one pass."""
        (slopes,), _, logits = problem.gradients(
            problem.images, [self.score], problem.active
        )
        return logits, slopes

    def run(self, problem: Problem) -> tf.Tensor:
        """The step."""
        images, slopes = problem.images, problem.slopes
        if slopes is None:
            slopes, _ = problem.gradient(images, self.score, problem.active)
        return self.pgd.step(problem, images, inward(slopes, images))


@register("bim")
@dataclasses.dataclass(frozen=True, kw_only=True)
class BIM(_Gradient):
    """The basic iterative method (I-FGSM): small steps from the image itself.

    Attributes:
        eps: Radius of the ball in pixel units of [0, 1].
        norm: `"inf"`, 1 or 2.
        steps: Number of steps.
        step_size: Length of a step; `2 * eps / steps` if `None`.
        loss: As for `PGD`.
        early_stop: As for `PGD`.

    Raises:
        ValueError: If a setting is out of range.

    Reference: Kurakin et al. 2017, https://arxiv.org/abs/1607.02533.

    Example:
        >>> BIM(eps=0.3, steps=10, step_size=0.08).pgd.random_start
        False
    """

    norm: float | str = "inf"
    steps: int = 10
    step_size: float | None = None
    loss: str | Callable[..., Any] = "cross_entropy"
    early_stop: bool = True

    @property
    def pgd(self) -> PGD:
        """Without a random start."""
        return PGD(random_start=False, **dataclasses.asdict(self))


@register("mifgsm", title="MI-FGSM")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MIFGSM(BIM):
    """The momentum iterative method (MI-FGSM): steps along an accumulated direction.

    Each gradient is divided by its L1 norm and added to the past ones, which have
    shrunk by `momentum`.

    Attributes:
        eps: As for `BIM`.
        norm: As for `BIM`.
        steps: As for `BIM`.
        step_size: As for `BIM`. The paper's `eps / steps` just reaches the edge.
        loss: As for `BIM`.
        early_stop: As for `BIM`. `False` for examples that should transfer.
        momentum: Share of the past kept; the paper's is 1.

    Raises:
        ValueError: If a setting is out of range.

    Reference: Dong et al. 2018, https://arxiv.org/abs/1710.06081.

    Example:
        >>> MIFGSM(eps=16 / 255).pgd.momentum
        1.0
    """

    momentum: float = 1.0
