"""Steps of training and evaluation, run under any `tf.distribute` strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfrobust.training.batches import TrainingBatch, sentence_of

# What Keras's loops hand to a train function; `train_on_batch` hands over a generator.
_ITERATORS = (tf.data.Iterator, tf.distribute.DistributedIterator)


def distributed(
    step: Callable[[Any], Any],
    strategy: tf.distribute.Strategy,
    weight_of: Callable[[str], tf.Tensor],
    *,
    prepare: Callable[[Any], Any] = lambda batch: batch,
    whole: Callable[[], dict[str, tf.Tensor]] = dict,
    steps: int = 1,
    eagerly: bool = False,
    jit_compile: bool = False,
) -> Callable[[Any], Any]:
    """What runs a step on every replica and reports means over all of them.

    Args:
        step: Maps a replica's batch to scalars by name.
        strategy: Where the replicas are.
        weight_of: By the name of a scalar, how many examples stand behind it on this
            replica.
        prepare: What becomes of a replica's batch first, outside of what XLA compiles.
        whole: Scalars that are no means over examples, read when the step is done on
            every replica.
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
        values = step(prepare(batch))
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
        return dict(zip(names, tf.unstack(means), strict=True)) | whole()

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
        try:
            return run(iterator)
        except tf.errors.InvalidArgumentError as error:
            sentence = sentence_of(error)
            if sentence is None:
                raise
            raise ValueError(sentence) from None

    return run_on_any


class Share(NamedTuple):
    """A replica's part of a batch.

    Attributes:
        examples: How many it has, float32 scalar.
        of_examples: Their share of all replicas', float32 scalar; 1 on a single one.
        weights: Sum of the weights of all replicas' examples, float32 scalar.
    """

    examples: tf.Tensor
    of_examples: tf.Tensor
    weights: tf.Tensor


def share_of(batch: TrainingBatch, strategy: tf.distribute.Strategy) -> Share:
    """This replica's part of a batch that all replicas work on.

    Args:
        batch: This replica's.
        strategy: The replicas'.

    Example:
        >>> from tfrobust.training.batches import unpack
        >>> batch = unpack((tf.zeros([4, 1]), tf.zeros([4], tf.int32)))
        >>> float(share_of(batch, tf.distribute.get_strategy()).of_examples)
        1.0
    """
    examples = tf.cast(tf.shape(batch.labels)[0], tf.float32)
    weights = examples if batch.weights is None else tf.reduce_sum(batch.weights)
    if strategy.num_replicas_in_sync == 1:
        return Share(examples, tf.constant(1.0), weights)
    context = tf.distribute.get_replica_context()
    sums = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stack([examples, weights]))
    return Share(examples, tf.math.divide_no_nan(examples, sums[0]), sums[1])


def scales_loss(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether an optimiser scales the loss for half precision.

    Example:
        >>> scales_loss(keras.optimizers.SGD())
        False
    """
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def share_overflow(gradients: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Makes a gradient that is not finite on one replica so on all of them.

    Keras's loss scaling decides from a replica's own gradients whether to skip the
    step. Replicas that decide differently would wait for each other for ever, or take
    over the infinite one's update.
    """
    finite = [
        tf.reduce_all(tf.math.is_finite(gradient))
        for gradient in gradients
        if gradient is not None
    ]
    flaw = tf.where(tf.reduce_all(finite), 0.0, float("nan"))
    context = tf.distribute.get_replica_context()
    flaw = context.all_reduce(tf.distribute.ReduceOp.SUM, flaw)
    return [
        None if gradient is None else gradient + tf.cast(flaw, gradient.dtype)
        for gradient in gradients
    ]
