"""Loops inside a graph."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def loop(condition: Any, body: Any, state: tuple[Any, ...]) -> Any:
    """A `tf.while_loop` over a nested state whose batch size may be unknown."""
    shapes = tf.nest.map_structure(lambda tensor: tensor.shape, state)
    return tf.while_loop(
        condition, body, state, shape_invariants=shapes, parallel_iterations=1
    )
