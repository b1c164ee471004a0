"""Steps of training and evaluation, run under any `tf.distribute` strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

# What Keras's loops hand to a train function; `train_on_batch` hands over a generator.
_ITERATORS = (tf.data.Iterator, tf.distribute.DistributedIterator)


class RunningMeans:
    """The epoch's running means, by name.

    Held outside of Keras's tracking: a built model refuses new state, and these are
    made anew by each `compile`, whose penalties name them.

    Args:
        names: What is averaged.

    Attributes:
        trackers: Keras's mean of each.

    Example:
        >>> running = RunningMeans(["loss"])
        >>> running.trackers["loss"].update_state([1.0, 3.0])
        >>> float(running.results()["loss"]), float(running.weight("loss"))
        (2.0, 2.0)
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def results(self, names: Sequence[str] | None = None) -> dict[str, tf.Tensor]:
        """The means of these names, or of all."""
        names = tuple(self.trackers) if names is None else names
        return {name: self.trackers[name].result() for name in names}

    def weight(self, name: str) -> tf.Tensor:
        """What stands behind a value: its examples, or 1 if it is not a mean."""
        tracker = self.trackers.get(name)
        return tf.constant(1.0) if tracker is None else tf.identity(tracker.count.value)


def distributed(
    step: Callable[[Any], Any],
    strategy: tf.distribute.Strategy,
    weight_of: Callable[[str], tf.Tensor],
    *,
    steps: int = 1,
    eagerly: bool = False,
    jit_compile: bool = False,
) -> Callable[[Any], Any]:
    """What runs a step on every replica and reports means over all of them.

    Args:
        step: Maps a replica's batch to scalars by name.
        strategy: Where the replicas are.
        weight_of: By the name of a scalar, how many examples stand behind it on this
            replica, as `RunningMeans.weight`.
        steps: Batches taken in one call; fewer where the iterator has no more.
        eagerly: Whether to run without a graph.
        jit_compile: Whether to compile the step by XLA.

    Returns:
        Maps an iterator of batches to the values of the last step.

    Example:
        >>> strategy = tf.distribute.get_strategy()
        >>> def step(batch):
        ...     return {"loss": tf.reduce_mean(batch)}
        >>> run = distributed(step, strategy, lambda name: tf.constant(1.0))
        >>> float(run(iter(tf.data.Dataset.from_tensors([1.0, 3.0])))["loss"])
        2.0
    """
    # AutoGraph would wrap every error of the step in several lines of its own.
    if jit_compile and not eagerly:
        step = tf.function(
            step, jit_compile=True, reduce_retracing=True, autograph=False
        )
    names: list[str] = []

    def on_replica(batch: Any) -> tf.Tensor:
        """The step's values, each times its weight and beside it, `[N,2]`."""
        values = step(batch)
        names[:] = values
        weights = [weight_of(name) for name in names]
        return tf.stack(
            [
                (weight * tf.cast(value, tf.float32), weight)
                for value, weight in zip(values.values(), weights, strict=True)
            ]
        )

    def on_all(batch: Any) -> dict[str, tf.Tensor]:
        """The step on every replica, its values as means over all of them."""
        # One sum for all values, since on a network each has its latency. Replicas
        # count by their examples: padding may have left one with fewer.
        sums = strategy.reduce(
            "SUM", strategy.run(on_replica, args=(batch,)), axis=None
        )
        means = tf.math.divide_no_nan(sums[:, 0], sums[:, 1])
        return dict(zip(names, tf.unstack(means), strict=True))

    def run(iterator: Any) -> dict[str, tf.Tensor]:
        def another(done: tf.Tensor, values: Any) -> tuple[tf.Tensor, Any]:
            batch = iterator.get_next_as_optional()
            return done + 1, tf.cond(
                batch.has_value(),
                lambda: on_all(batch.get_value()),
                lambda: values,
            )

        values = on_all(next(iterator))
        if steps > 1:
            _, values = tf.while_loop(
                lambda done, _: done < steps, another, (tf.constant(1), values)
            )
        return values

    if not eagerly:
        run = tf.function(run, reduce_retracing=True, autograph=False)

    def run_on_any(iterator: Any) -> dict[str, tf.Tensor]:
        if not isinstance(iterator, _ITERATORS):  # from `train_on_batch`
            batch = [part for part in next(iterator) if part is not None]
            iterator = iter(tf.data.Dataset.from_tensors(tuple(batch)))
        return run(iterator)

    return run_on_any
