"""What searches share: the loop, and a gradient that respects the range of a pixel."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def inward(gradient: tf.Tensor, point: tf.Tensor) -> tf.Tensor:
    """The gradient without the entries that push a pixel out of [0, 1]."""
    out = ((point <= 0.0) & (gradient < 0.0)) | ((point >= 1.0) & (gradient > 0.0))
    return tf.where(out, tf.zeros_like(gradient), gradient)


def loop(condition: Any, body: Any, state: tuple[Any, ...]) -> Any:
    """A `tf.while_loop` over a nested state whose batch size may be unknown."""
    shapes = tf.nest.map_structure(lambda tensor: tensor.shape, state)
    return tf.while_loop(
        condition, body, state, shape_invariants=shapes, parallel_iterations=1
    )
