"""Replicas that the last batch of an epoch leaves without an image.

A batch of 9 goes to four replicas as 3 + 3 + 3 + 0. The fourth must take the step all
the same, since the others wait for it, and it cannot do so on nothing: oneDNN's
convolutions and pools end the process over an empty batch, and means over one are NaN.
So it takes a stand-in for an image, and everything that would come of that is left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfrobust.core.pixels import Bounds
from tfrobust.layers import find_layers
from tfrobust.training.batches import TrainingBatch


class Presence:
    """Whether a replica has a part of a batch, and what that means for a step.

    On a single device, and where each replica always has as many images, it costs
    nothing.

    Args:
        batch: What the replica got.
        strategy: Of the replicas.

    Attributes:
        present: float32 scalar, 1 or 0; `None` if it is known that there are images.

    Example:
        >>> from tfrobust.training.batches import unpack
        >>> batch = unpack((tf.zeros([4, 1]), tf.zeros([4], tf.int32)))
        >>> Presence(batch, tf.distribute.get_strategy()).present is None
        True
    """

    def __init__(self, batch: TrainingBatch, strategy: tf.distribute.Strategy) -> None:
        self.present: tf.Tensor | None = None
        self._weighted = batch.weights is not None
        if strategy.num_replicas_in_sync > 1 and not batch.labels.shape[0]:
            self.present = tf.cast(tf.shape(batch.labels)[0] > 0, tf.float32)

    def filled(self, batch: TrainingBatch, bounds: Bounds) -> TrainingBatch:
        """The batch, or where it is empty one example of weight 0.

        Args:
            batch: Of any size.
            bounds: The range of its pixels.
        """
        if self.present is None:
            return batch
        if batch.weights is None:
            batch = batch._replace(weights=tf.ones(tf.shape(batch.labels)))
        # Grey, since the gradient of a norm, say, may not be finite at an edge.
        grey = sum(bounds) / 2

        def one_row() -> TrainingBatch:
            row = tf.nest.map_structure(_zeros, batch)
            return row._replace(images=row.images + tf.cast(grey, row.images.dtype))

        return self._if_present(lambda: batch, one_row)

    def own(self, gradients: list[Any]) -> list[Any]:
        """Gradients of a loss that was multiplied by 0 where there is no image.

        That alone leaves NaN where the network is not smooth at the stand-in.
        """
        if self.present is None:
            return gradients
        dense = [each for each in gradients if tf.is_tensor(each)]
        masked = iter(
            self._if_present(lambda: dense, lambda: [tf.zeros_like(g) for g in dense])
        )
        return [next(masked) if tf.is_tensor(each) else each for each in gradients]

    def values(self, values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Means over the replica's examples, 0 where there are none."""
        if self.present is None:
            return values
        present = self.present
        return {
            name: tf.math.multiply_no_nan(value, tf.cast(present, value.dtype))
            for name, value in values.items()
        }

    def count(
        self, update: Callable[[TrainingBatch], None], batch: TrainingBatch
    ) -> None:
        """Updates metrics, whose state is each replica's own, if there are images.

        Args:
            update: Does so from a batch, with weights if any were given.
            batch: What `filled` returned.
        """
        if self.present is None:
            return update(batch)
        if not self._weighted:
            # Keras's metrics of a whole batch, as functions may be, take no weights.
            batch = batch._replace(weights=None)

        def updated() -> tf.Tensor:
            update(batch)
            return tf.constant(0)

        self._if_present(updated, lambda: tf.constant(0))
        return None

    @contextlib.contextmanager
    def training(self, network: keras.Model) -> Iterator[None]:
        """While the network is called in training, its statistics are of images alone.

        What layers sum over all replicas - synchronized batch statistics - gets nothing
        from a replica without images. Statistics that each replica has of its own are
        put back there.

        A layer that averages its own statistics by `aggregation="mean"`, without such
        sums, gets those of the stand-in as those of one replica: when it assigns them,
        it is too late to leave them out.

        Args:
            network: What is called.
        """
        if self.present is None:
            yield
            return
        own = [(each, tf.identity(each.value)) for each in _own_statistics(network)]
        with _left_out_of_sums(self.present):
            yield

        def put_back() -> tf.Tensor:
            for variable, before in own:
                variable.assign(before)
            return tf.constant(0)

        if own:
            self._if_present(lambda: tf.constant(0), put_back)

    def _if_present(self, images: Callable[[], Any], none: Callable[[], Any]) -> Any:
        # Nothing here may wait for another replica: it need not come by.
        return tf.cond(tf.cast(self.present, tf.bool), images, none)


def _zeros(part: tf.Tensor) -> tf.Tensor:
    """One row like those of a part of a batch, of zeros."""
    part = tf.convert_to_tensor(part)
    return tf.zeros(tf.concat([[1], tf.shape(part)[1:]], axis=0), part.dtype)


def _own_statistics(network: keras.Model) -> list[Any]:
    """Floating-point state that each replica updates without asking the others.

    Not that of layers that have it in common, nor a singular vector, which is no
    statistic of images and goes on with each step.
    """
    common = {
        id(variable)
        for layer in find_layers(network, keras.layers.Layer)
        if getattr(layer, "synchronized", False)
        or isinstance(layer, keras.layers.SpectralNormalization)
        for variable in layer.non_trainable_variables
    }
    return [
        variable
        for variable in network.non_trainable_variables
        if variable.aggregation == "none"
        and keras.backend.is_float_dtype(variable.dtype)
        and id(variable) not in common
    ]


@contextlib.contextmanager
def _left_out_of_sums(present: tf.Tensor) -> Iterator[None]:
    """This replica adds to sums over all of them only what it has, forward and back."""
    context = tf.distribute.get_replica_context()
    all_reduce = context.all_reduce

    def masked(reduce_op: Any, value: Any, *settings: Any, **named: Any) -> Any:
        if tf.distribute.ReduceOp(_name_of(reduce_op)) != tf.distribute.ReduceOp.SUM:
            return all_reduce(reduce_op, value, *settings, **named)
        value = tf.nest.map_structure(lambda part: _times(part, present), value)
        total = all_reduce(reduce_op, value, *settings, **named)
        # The value is the same; of the gradient a replica without images has no part.
        return tf.nest.map_structure(
            lambda part: (
                _times(part, present) + _times(tf.stop_gradient(part), 1.0 - present)
            ),
            total,
        )

    context.all_reduce = masked
    try:
        yield
    finally:
        del context.all_reduce


def _times(value: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    return tf.math.multiply_no_nan(value, tf.cast(present, value.dtype))


def _name_of(reduce_op: Any) -> str:
    """An operation, which may be given by its name, in any case."""
    return str(getattr(reduce_op, "value", reduce_op)).upper()
