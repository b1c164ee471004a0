"""Batches shared among the replicas of a `tf.distribute` strategy.

What is compiled for batches of any size passes through `graph_of_rows`. In the scope of
a `tf.distribute.MirroredStrategy` the graph gives each replica its part of the rows and
puts the results together in order; what it runs need not know of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def sharing_strategy() -> tf.distribute.Strategy | None:
    """The strategy in whose scope this is called, if it can share a batch.

    One with several replicas in this process, outside of `strategy.run`. Of workers in
    several processes each does all of the work.

    Example:
        >>> sharing_strategy() is None
        True
    """
    strategy = tf.distribute.get_strategy()
    shares = (
        isinstance(strategy, tf.distribute.MirroredStrategy)
        and strategy.num_replicas_in_sync > 1
        and tf.distribute.in_cross_replica_context()
    )
    return strategy if shares else None


def graph_of_rows(
    function: Callable[..., Any], *specs: tf.TensorSpec | None, shared: bool = True
) -> Any:
    """A function of batches as one graph, shared by replicas where there are several.

    Each replica gets equally many rows, in order: where they do not divide, the last
    row is repeated and what comes of the copies is left out.

    Args:
        function: From tensors `[B, ...]` to a structure of tensors `[B, ...]`. The
            result of a row may depend on no other.
        *specs: The signature, with batches of unknown size; `None` for an argument
            that is `None`.
        shared: Whether replicas may share the work.

    Returns:
        A concrete function.

    Example:
        >>> spec = tf.TensorSpec([None, 2], tf.float32)
        >>> double = graph_of_rows(lambda rows: 2.0 * rows, spec)
        >>> double(tf.ones([1, 2])).numpy().tolist()
        [[2.0, 2.0]]
    """
    strategy = sharing_strategy() if shared else None

    def run(*batch: Any) -> Any:
        return _shared(strategy, function, batch)

    chosen = function if strategy is None else run
    return tf.function(chosen, autograph=False).get_concrete_function(*specs)


def _shared(
    strategy: tf.distribute.Strategy, function: Callable[..., Any], batch: Any
) -> Any:
    """What the replicas make of their parts of a batch, as one."""
    given = next(tensor for tensor in batch if tensor is not None)
    count = tf.shape(given)[0]
    each = -(-count // strategy.num_replicas_in_sync)  # rounded up
    parts = [
        None if tensor is None else _parts(strategy, tensor, each) for tensor in batch
    ]
    results = strategy.run(function, args=parts)

    def joined(result: Any) -> tf.Tensor:
        return tf.concat(strategy.experimental_local_results(result), axis=0)[:count]

    return tf.nest.map_structure(joined, results)


def _parts(strategy: tf.distribute.Strategy, tensor: tf.Tensor, each: tf.Tensor) -> Any:
    """So many rows for each replica, the last one repeated to fill up."""
    # Slices rather than `tf.gather`, whose gradient is no tensor.
    missing = strategy.num_replicas_in_sync * each - tf.shape(tensor)[0]
    filled = tf.concat([tensor, tf.repeat(tensor[-1:], missing, axis=0)], axis=0)

    def part(context: tf.distribute.ValueContext) -> tf.Tensor:
        first = context.replica_id_in_sync_group * each
        return tf.ensure_shape(filled[first : first + each], [None, *tensor.shape[1:]])

    return strategy.experimental_distribute_values_from_function(part)
