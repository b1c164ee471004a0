"""What `RobustModel.compile` makes of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfrobust.core.answers import Answer, shape_of_output
from tfrobust.core.keras_losses import ExampleLoss
from tfrobust.core.pixels import bounds_of
from tfrobust.core.unit_network import UnitNetwork
from tfrobust.layers import (
    LipschitzBatchNormalization,
    find_layers,
    learnable_activations,
)
from tfrobust.training.batches import TrainingBatch, check_labels, check_logits
from tfrobust.training.empty_replicas import Presence
from tfrobust.training.metrics import (
    CurrentValue,
    GivenMetrics,
    RunningMean,
    is_correct,
)
from tfrobust.training.saving import CompileSettings
from tfrobust.training.steps import Share


class Compiled:
    """What `compile` makes of its arguments.

    Outside of Keras's tracking: a built model refuses new state, and this is made anew
    by each `compile`.
    """

    def __init__(self, model: Any, settings: CompileSettings | None = None) -> None:
        self.settings = settings
        network = model.network
        self.unit = UnitNetwork(
            network, bounds_of(model), model.output_name, name=network.name
        )
        self.loss = ExampleLoss(None if settings is None else settings.loss)
        self.loss_name = "cross_entropy" if self.loss.is_default else "data_loss"
        self.loss_weight = 1.0
        self.classes: int | None = None
        if settings is None:
            return
        self.loss_weight = _loss_weight(settings.loss_weights, model.output_name)
        with model.distribute_strategy.scope():
            self._given = GivenMetrics(settings.metrics, settings.weighted_metrics)
        plain = settings.metrics is None and settings.weighted_metrics is None
        self._accuracies = {"accuracy": False} if plain else self._given.accuracies
        names = [*self._accuracies, self.loss_name, *self._value_trackers(model)]
        # Keras's own of the loss comes first, once it exists.
        self.trackers: dict[str, Any] = {"loss": None}
        with model.distribute_strategy.scope():
            for name in names:
                rises = name in self._accuracies
                self.trackers[name] = RunningMean(name, rises=rises)
        current = _coefficients(network)
        self._current = [CurrentValue(name, read) for name, read in current.items()]
        own = [tracker for tracker in self.trackers.values() if tracker is not None]
        self.metrics = [*own, *self._given.metrics, *self._current]

    def learn_shapes(self, model: Any) -> None:
        """What follows from the shape of the network's answer, where it says it."""
        shape = shape_of_output(model.network, model.output_name)
        if shape is None:
            return
        self.classes = self.unit.output_shape[-1]
        if model.distribute_strategy.num_replicas_in_sync > 1:
            self._given.build(shape[1:] or (1,))

    def _value_trackers(self, model: Any) -> list[str]:
        names = ["regularization", *(penalty.name for penalty in model.penalties)]
        if any(penalty.needs_input_gradient for penalty in model.penalties):
            names.append("gradient_norm")
        return names

    def check(self, labels: tf.Tensor, answer: Answer) -> None:
        """Fails over labels that are no classes, and probabilities taken for logits."""
        if self.classes is None:
            check_labels(labels, answer.logits.shape[-1])
        if answer.is_doubtful:
            check_logits(answer.logits)

    def mean_loss(
        self, losses: tf.Tensor, weights: tf.Tensor | None, share: Share
    ) -> tf.Tensor:
        """The loss of this replica's examples, as the loss reduces them."""
        weighted = losses if weights is None else losses * weights
        total = tf.reduce_sum(weighted)
        if self.loss.reduction == "sum":
            return tf.math.divide_no_nan(total, share.of_examples)
        if self.loss.reduction == "mean_with_sample_weight" and weights is not None:
            divisor = share.weights * share.of_examples
            return tf.math.divide_no_nan(total, divisor)
        return tf.math.divide_no_nan(total, share.examples)

    def update(
        self,
        batch: TrainingBatch,
        logits: tf.Tensor,
        answer: Answer,
        values: dict[str, tf.Tensor],
        examples: tf.Tensor,
        presence: Presence,
    ) -> dict[str, tf.Tensor]:
        """Counts a step of training, and says what is reported."""
        for name, value in presence.values(values).items():
            self.trackers[name].update_state(value, examples)
        presence.count(lambda given: self._count(given, logits, answer), batch)
        current = {metric.name: metric.result() for metric in self._current}
        reported = {*values, *self._accuracies}
        names = [name for name in self.trackers if name in reported]
        return self._results(names) | current

    def update_test(
        self,
        batch: TrainingBatch,
        answer: Answer,
        total: tf.Tensor,
        losses: tf.Tensor,
        presence: Presence,
    ) -> dict[str, tf.Tensor]:
        """Counts a step of evaluation, and says what is reported."""

        def count(batch: TrainingBatch) -> None:
            self.trackers["loss"].update_state(total, batch.weights)
            self.trackers[self.loss_name].update_state(losses, batch.weights)
            self._count(batch, answer.logits, answer)

        presence.count(count, batch)
        return self._results(["loss", *self._accuracies, self.loss_name])

    def _count(self, batch: TrainingBatch, logits: tf.Tensor, answer: Answer) -> None:
        correct, weights = is_correct(batch.labels, logits), batch.weights
        counted = None if weights is None else tf.cast(weights != 0.0, tf.float32)
        for name, is_weighted in self._accuracies.items():
            by = weights if is_weighted else counted
            self.trackers[name].update_state(correct, by)
        self._given.update(batch.targets, answer.given, weights)

    def _results(self, names: Any) -> dict[str, tf.Tensor]:
        return {name: self.trackers[name].result() for name in names}

    def whole(self) -> dict[str, tf.Tensor]:
        """The metrics that were given, over all replicas."""
        results: dict[str, tf.Tensor] = {}
        for metric in self._given.metrics:
            result = metric.result()
            results |= result if isinstance(result, dict) else {metric.name: result}
        return results

    def weight(self, name: str) -> tf.Tensor:
        """What stands behind a value: its examples, or 1 if it is not a mean."""
        tracker = self.trackers.get(name)
        return tf.constant(1.0) if tracker is None else tf.identity(tracker.count.value)


def _loss_weight(given: Any, output: str | None) -> float:
    """The number by which the loss is multiplied."""
    if isinstance(given, dict):
        given = given.get(output) if output in given else list(given.values())
    if isinstance(given, list | tuple) and len(given) == 1:
        given = given[0]
    if given is None:
        return 1.0
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(
            "`loss_weights` must be one number, or None, for a network trained by one "
            f"output. Received: loss_weights={given!r}"
        )
    return float(given)


def _coefficients(network: keras.Model) -> dict[str, Callable[[], tf.Tensor]]:
    """What reads the mean beta and gamma now, not averaged over the epoch."""
    activations = learnable_activations(network)
    batch_norms = find_layers(network, LipschitzBatchNormalization)
    read: dict[str, Callable[[], tf.Tensor]] = {}
    if activations:
        read["beta"] = lambda: _mean_of([layer.beta for layer in activations])
    if batch_norms:
        read["gamma"] = lambda: _mean_of([layer.gamma for layer in batch_norms])
    return read


def _mean_of(scalars: list[Any]) -> tf.Tensor:
    return tf.reduce_mean(tf.stack(scalars))
