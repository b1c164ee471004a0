"""What a penalty is, and what one training step tells it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from tfrobust.core.configs import Configured
from tfrobust.core.errors import ExtensionError
from tfrobust.core.gradients import Pullback
from tfrobust.settings import require_not_negative


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepContext:
    """What one training step knows, computed once for all penalties.

    Attributes:
        network: The classifier being trained, as a Keras model from images in [0, 1]
            to logits `[B,K]`, whatever its own pixels, outputs and last layer are.
        images: float32 `[B,H,W,C]` in [0, 1], the images the loss was taken at.
        labels: int `[B]`.
        logits: float32 `[B,K]`, of the training-mode forward pass.
        losses: float32 `[B]`, the loss of each example, by default its cross-entropy.
        input_gradient: float32 `[B,H,W,C]`, gradient of each example's loss in its own
            image; `None` unless a penalty set `needs_input_gradient`.
        pullback: Maps cotangents of the logits, float32 `[B,K]`, to gradients in the
            images, float32 `[B,H,W,C]`, through the forward pass that gave `logits`;
            may be called several times, and what it returns differentiated. `None`
            unless a penalty set `needs_pullback`.
        extras: What the data say of each image beside its label, `[B,...]` by name.
        step: int64 scalar, updates of the weights before this one.
        weights: float32 `[B]`, by which the loss of each example is multiplied, as
            `sample_weight` and `class_weight` say; `None` where they say nothing.
        example_losses: Maps images `[B,H,W,C]` in [0, 1] to the loss of each example
            there, float32 `[B]`, of the network in inference mode; `None` stands for
            the cross-entropy.
    """

    network: keras.Model
    images: tf.Tensor
    labels: tf.Tensor
    logits: tf.Tensor
    losses: tf.Tensor
    input_gradient: tf.Tensor | None = None
    pullback: Pullback | None = None
    extras: Mapping[str, tf.Tensor] = dataclasses.field(default_factory=dict)
    step: tf.Tensor | int = 0
    weights: tf.Tensor | None = None
    example_losses: Callable[[tf.Tensor], tf.Tensor] | None = None

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """The mean of a value of each example, each times the weight of its example.

        As Keras has it for losses: weights do not change the divisor, which is B. Of no
        examples it is 0.

        Args:
            values: float32 `[B]`.

        Returns:
            A float32 scalar.

        Example:
            >>> context = StepContext(
            ...     network=None, images=None, labels=None, logits=None, losses=None,
            ...     weights=tf.constant([2.0, 0.0]))
            >>> float(context.mean(tf.constant([3.0, 5.0])))
            3.0
        """
        weighted = values if self.weights is None else values * self.weights
        count = tf.cast(tf.size(values), values.dtype)
        return tf.math.divide_no_nan(tf.reduce_sum(weighted), count)


class Penalty(Configured):
    """A term added to the training loss.

    A subclass sets `name` (the metric's name), `needs_input_gradient` and
    `needs_pullback`, and defines `__call__`, which maps a `StepContext` to a float32
    scalar: a mean over the batch's examples, by `context.mean` so that sample weights
    count, or a function of the network's weights alone.
    Scaling to the number of replicas is the training step's business.
    """

    name: str = "penalty"
    needs_input_gradient: bool = False
    needs_pullback: bool = False

    def __call__(self, context: StepContext) -> tf.Tensor:
        """The penalty of this step, a float32 scalar."""
        raise NotImplementedError

    def check(self, network: keras.Model) -> None:
        """Raises `ValueError` if the penalty cannot apply to this network."""

    def term(self, context: StepContext) -> tf.Tensor:
        """What the penalty adds to the loss of a step, checked, a float32 scalar.

        Raises:
            ValueError: If `__call__` returns anything but one floating-point number.
        """
        value = self(context)
        shown = "None"
        if value is not None:
            value = tf.convert_to_tensor(value)
            if value.shape.rank == 0 and value.dtype.is_floating:
                return tf.cast(value, tf.float32)
            shown = f"{value.dtype.name} of shape {value.shape}"
        raise ExtensionError(
            f"A penalty must return one floating-point number. Received: {shown} from "
            f"{self.name!r}"
        )


def check_weight(name: str, value: float) -> float:
    """`value` as a float of at least 0, or a one-sentence `ValueError`."""
    require_not_negative(name, value)
    return float(value)
