"""The forward pass of a training step, with every derivative that a penalty asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfrobust.core.answers import Answer
from tfrobust.core.differentiable import (
    layers_named,
    missing_gradient,
    require_second_derivative,
)
from tfrobust.core.gradients import Values, gradient_scale, pullback
from tfrobust.core.keras_losses import ExampleLoss
from tfrobust.core.second_derivatives import twice_differentiable
from tfrobust.core.unit_network import UnitNetwork
from tfrobust.penalties import Penalty, StepContext
from tfrobust.training.batches import TrainingBatch


class Forward(NamedTuple):
    """What a forward pass gives.

    Attributes:
        context: What penalties are told.
        answer: Of the network, and its logits.
        added: The losses that the network's own layers add, float32 scalars.
    """

    context: StepContext
    answer: Answer
    added: list[tf.Tensor]


def forward(
    unit: UnitNetwork,
    loss: ExampleLoss,
    images: tf.Tensor,
    batch: TrainingBatch,
    penalties: Sequence[Penalty],
    step: tf.Tensor,
) -> Forward:
    """The network on a batch in training mode.

    Args:
        unit: The network, of images in [0, 1].
        loss: Of each example.
        images: float32 `[B,...]` in [0, 1], which an adversary may have moved.
        batch: What else the batch holds.
        penalties: Which ask for derivatives.
        step: int64 scalar, updates of the weights so far.

    Raises:
        ValueError: If a layer lacks a derivative that a penalty asks for.
    """
    asked: dict[str, Any] = {}
    wants_gradient = any(penalty.needs_input_gradient for penalty in penalties)
    wants_pullback = any(penalty.needs_pullback for penalty in penalties)
    if wants_gradient or wants_pullback:
        with tf.GradientTape(wants_pullback, watch_accessed_variables=False) as tape:
            tape.watch(images)
            with twice_differentiable():
                answer, added = unit.answer_and_losses(images, training=True)
            losses = loss(batch.targets, answer)
            scale = gradient_scale(unit.network)
            total = tf.reduce_sum(losses) * scale
        if wants_gradient:
            gradient = tape.gradient(total, images)
            _require(unit, _losses(unit, loss, batch, True), images, gradient)
            asked["input_gradient"] = gradient / scale
        if wants_pullback:
            asked["pullback"] = pullback(tape, answer.logits, images, scale)
    else:
        answer, added = unit.answer_and_losses(images, training=True)
        losses = loss(batch.targets, answer)
    context = StepContext(
        network=unit,
        images=images,
        labels=batch.labels,
        logits=answer.logits,
        losses=losses,
        extras=batch.extras,
        step=step,
        weights=batch.weights,
        example_losses=_losses(unit, loss, batch, False),
        **asked,
    )
    return Forward(context, answer, added)


def _losses(
    unit: UnitNetwork, loss: ExampleLoss, batch: TrainingBatch, training: bool
) -> Values:
    """Maps images to the loss of each example there."""
    return lambda images: loss(batch.targets, unit.answer(images, training=training))


def _require(
    unit: UnitNetwork, losses: Values, images: tf.Tensor, gradient: tf.Tensor | None
) -> None:
    """Raises `ValueError` where there is no derivative for a penalty to take."""
    with layers_named(unit.network):
        if gradient is None:
            raise missing_gradient(losses, images)
        require_second_derivative(images, gradient, variables=True)
