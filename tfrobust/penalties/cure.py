"""Curvature regularisation (CURE): the gradient should not turn along one direction."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrobust.core.differentiable import layers_named, require_second_derivative
from tfrobust.core.gradients import gradient_scale, input_gradient
from tfrobust.core.keras_losses import ExampleLoss
from tfrobust.core.vectors import squared_norms, unit
from tfrobust.penalties.base import Penalty, StepContext, check_weight
from tfrobust.penalties.registry import register
from tfrobust.settings import require, require_positive

_DIRECTIONS = ("sign", "gradient")


@register("cure")
class Cure(Penalty):
    """`weight * mean_i ||grad loss(x_i + step * z_i) - grad loss(x_i)||^2`.

    The finite difference stands for `step` times the Hessian of example i's own
    loss along z_i, the direction in which the loss bends most: the signs of
    the clean gradient, or the gradient itself, at Euclidean length 1. No gradient flows
    through z; where the clean gradient is 0, so is z. The far point is not clipped to
    [0, 1].

    As in CURE's own code the network runs in inference mode here: batch norm reads
    its moving statistics and leaves them alone, so an example's term does not depend on
    its batch. The clean gradient serves both for z and in the difference, so a step
    costs two more forward passes, each differentiated twice. The authors penalise the
    norm of the difference in their code; the paper, and this, its square.

    Args:
        weight: Strength, at least 0, in images of [0, 1]. The default is the released 4
            carried over from standardised CIFAR-10, whose gradients are about 0.2 times
            as long (the standard deviation of a pixel): 4 * 0.2**2.
        step: Euclidean distance h between the two points, above 0, in images of [0, 1].
            The default is the released 3 standardised units times 0.2. The release
            reaches it over five epochs (0.1, 0.4, 0.8, 1.8, 3), starting from a trained
            network. The LCNN authors' baseline, which the flagfiles have, is
            `Cure(6.1e-5, step=1)` (LCNN-R5); docs/PAPERS.md says how theirs differs.
        direction: `"sign"` or `"gradient"`.
        loss: Another loss than the one that the model is trained with, which by default
            is the cross-entropy; as for `GradientNorm`.

    Raises:
        ValueError: If `weight` is negative, `step` is not positive or `direction` is
            unknown.

    Reference: Moosavi-Dezfooli et al. 2019, "Robustness via curvature regularization,
    and vice versa", section 4.

    Example:
        >>> import keras
        >>> from tfrobust import models, penalties
        >>> from tfrobust.training import RobustModel
        >>> model = RobustModel(models.MLP((2,), classes=2, hidden=(8,)))
        >>> model.compile(keras.optimizers.SGD(0.1), penalties=[penalties.Cure()])
        >>> [penalty.name for penalty in model.penalties]
        ['cure_penalty']
    """

    name = "cure_penalty"

    def __init__(
        self,
        weight: float = 0.16,
        step: float = 0.6,
        direction: str = "sign",
        loss: Any = None,
    ) -> None:
        self.weight = check_weight("weight", weight)
        require_positive("step", step)
        names = ", ".join(_DIRECTIONS)
        require(direction in _DIRECTIONS, "direction", direction, f"one of {names}")
        self.step = float(step)
        self.direction = direction
        self.loss = loss
        self._example_loss = ExampleLoss(loss)

    def __call__(self, context: StepContext) -> tf.Tensor:
        """The penalty of this step, a float32 scalar."""
        clean = self._input_gradient(context, context.images)
        with layers_named(context.network):
            require_second_derivative(context.images, clean, variables=True)
        toward = tf.stop_gradient(clean)
        if self.direction == "sign":
            toward = tf.sign(toward)
        far = context.images + self.step * unit(toward)
        there = self._input_gradient(context, far)
        return self.weight * context.mean(squared_norms(there - clean))

    def _input_gradient(self, context: StepContext, images: tf.Tensor) -> tf.Tensor:
        """Gradient of each example's loss in its image, inference mode."""

        def own(x: tf.Tensor) -> tf.Tensor:
            logits = tf.cast(context.network(x, training=False), tf.float32)
            return self._example_loss.of_logits(context.labels, logits)

        losses = own if self.loss is not None else context.example_losses or own
        with layers_named(context.network):
            return input_gradient(losses, images, gradient_scale(context.network))
