"""The metrics of training: our own, and those that `compile` is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

_ACCURACY = ("accuracy", "acc")


class RunningMean(keras.metrics.Mean):
    """Keras's mean of values, which also says which way is better.

    Args:
        name: Of the metric.
        rises: Whether more is better. Callbacks in mode "auto" ask for it.

    Example:
        >>> mean = RunningMean("accuracy", rises=True)
        >>> mean.update_state([0.0, 1.0])
        >>> float(mean.result())
        0.5
    """

    def __init__(self, name: str, *, rises: bool = False) -> None:
        super().__init__(name=name)
        self._direction = "up" if rises else "down"


class CurrentValue(keras.metrics.Metric):
    """A value that is read off the network whenever it is asked for.

    Args:
        name: Of the metric.
        value: What reads it.

    Example:
        >>> float(CurrentValue("beta", lambda: tf.constant(2.0)).result())
        2.0
    """

    def __init__(self, name: str, value: Callable[[], tf.Tensor]) -> None:
        super().__init__(name=name)
        self._direction = "down"
        self._value = value

    def update_state(self, *_args: Any, **_settings: Any) -> None:
        """Nothing: there is no state."""

    def result(self) -> tf.Tensor:
        """The value now."""
        return self._value()


class GivenMetrics:
    """What `compile` is given as `metrics` and `weighted_metrics`.

    Args:
        metrics: Keras's metrics, their names or functions, in a list or, under the name
            of the output, in a dictionary. They count every example alike, but for
            those of weight 0, which fill a batch up. `"accuracy"` is the share of
            examples whose largest logit is that of their label, for every network.
        weighted: The same, weighted by `sample_weight` and `class_weight`.

    Attributes:
        accuracies: Those of them that are the plain accuracy, by name, and whether they
            are weighted.

    Raises:
        ValueError: If one is no metric.
    """

    def __init__(self, metrics: Any, weighted: Any) -> None:
        self.accuracies: dict[str, bool] = {}
        self._plain: list[keras.metrics.Metric] = []
        self._weighted: list[keras.metrics.Metric] = []
        for given, kept, is_weighted in (
            (metrics, self._plain, False),
            (weighted, self._weighted, True),
        ):
            for metric in _flat(given):
                if isinstance(metric, str) and metric.lower() in _ACCURACY:
                    self.accuracies[metric] = is_weighted
                else:
                    kept.append(_as_metric(metric))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Keras's own, without the plain accuracies."""
        return [*self._plain, *self._weighted]

    def build(self, shape: tuple[int, ...]) -> None:
        """Makes the variables of metrics that have none before they are used.

        Keras's `F1Score` is one. A replica in the middle of a step cannot make them.

        Args:
            shape: That of an answer of the network, without the batch.
        """
        for metric in self.metrics:
            if not metric.variables:
                nothing = tf.zeros([1, *shape])
                metric.update_state(nothing, nothing)
                metric.reset_state()

    def update(
        self, targets: tf.Tensor, given: tf.Tensor, weights: tf.Tensor | None
    ) -> None:
        """Counts a batch.

        Args:
            targets: `[B]`, `[B,1]` or `[B,K]`.
            given: What the network answers with, `[B,K]` or `[B,1]`.
            weights: float32 `[B]`, if any.
        """
        if given.shape.rank == 1 or given.shape[1] == 1:
            given = tf.reshape(given, [-1, 1])
            targets = (
                tf.reshape(targets, [-1, 1]) if targets.shape.rank == 1 else targets
            )
        counted = None if weights is None else tf.cast(weights != 0.0, tf.float32)
        for metric in self._plain:
            metric.update_state(targets, given, sample_weight=counted)
        for metric in self._weighted:
            metric.update_state(targets, given, sample_weight=weights)


def is_correct(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """1 where the largest logit is that of the label, else 0, float32 `[B]`.

    Example:
        >>> logits = tf.constant([[0.0, 1.0], [1.0, 0.0]])
        >>> is_correct(tf.constant([1, 1]), logits).numpy()
        array([1., 0.], dtype=float32)
    """
    predicted = tf.argmax(logits, axis=-1, output_type=labels.dtype)
    return tf.cast(predicted == labels, tf.float32)


def _flat(metrics: Any) -> list[Any]:
    if metrics is None:
        return []
    if isinstance(metrics, dict):
        metrics = list(metrics.values())
    if isinstance(metrics, list | tuple):
        return [each for part in metrics for each in _flat(part)]
    return [metrics]


def _as_metric(given: Any) -> keras.metrics.Metric:
    try:
        metric = keras.metrics.get(given)
    except ValueError as error:
        raise ValueError(
            "`metrics` must be Keras's metrics, their names, or functions. "
            f"Received: {given!r}"
        ) from error
    if isinstance(metric, keras.metrics.Metric):
        if isinstance(given, str):  # Reported under the name that was given.
            metric.name = given
        return metric
    name = given if isinstance(given, str) else getattr(metric, "__name__", "metric")
    return keras.metrics.MeanMetricWrapper(metric, name=name)
