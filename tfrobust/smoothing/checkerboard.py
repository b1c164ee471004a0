"""Chebyshev's iteration on a grid of four neighbours, at half the work a step.

Colour the pixels like a chess board: every neighbour of a black one is white. Black
values follow from white ones and the other way round, so one colour at a time is moved,
from the newest values of the other. That takes the iterates of the plain method that
are needed and leaves out the rest (the cyclic Chebyshev method).

With an odd number of columns the colour of a pixel is the parity of its place in the
flat image, the colours are every other element, and neighbours are a fixed shift apart.
An even number is made odd by a column that has no edges.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Self

import tensorflow as tf

from tfrobust.core.loops import loop
from tfrobust.settings import require_steps
from tfrobust.smoothing.checks import check_alpha, check_solver
from tfrobust.smoothing.graph import GridGraph
from tfrobust.smoothing.solvers import next_weight


class Checkerboard:
    """Solves `(I - alpha W) x = b` on a graph of four neighbours.

    Args:
        graph: The graph, `neighbors=4`.
        alpha: In [0, 1).

    Raises:
        ValueError: If alpha is out of range or the graph has other neighbours.

    Reference: Golub and Varga 1961, Numerische Mathematik 3, section 4.

    Example:
        >>> from tfrobust.smoothing import grid_graph
        >>> graph = grid_graph(tf.zeros([1, 1, 3, 1]))
        >>> b = tf.constant([[[[1.0], [0.0], [0.0]]]])
        >>> x = Checkerboard(graph, alpha=0.5).solve(b, iterations=9)
        >>> [round(float(value), 4) for value in x[0, 0, :, 0]]  # W is 0.7071 on edges
        [1.1667, 0.4714, 0.1667]
    """

    def __init__(self, graph: GridGraph, alpha: float) -> None:
        check_alpha(alpha)
        check_solver("checkerboard", graph.neighbors)
        self._set_shape(graph.shape)
        height, width, channels = graph.shape
        self._alpha = float(alpha)
        right, down = (
            alpha * tf.reshape(weight, [-1, height, width, channels])
            for weight in graph.weights
        )
        self._right = self._split(right)
        self._down = self._split(down)

    def solve(
        self, b: tf.Tensor, iterations: int, start: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Solve, with as many products with W as there are iterations.

        Called eagerly it is compiled, once for all boards of a size.

        Args:
            b: float32 `[B, H, W, C]`.
            iterations: At least 1. As precise as twice as many of the plain method.
            start: float32 `[B, H, W, C]`, where to begin; zeros if `None`.

        Returns:
            float32 `[B, H, W, C]`.

        Raises:
            ValueError: If `iterations` is no count.
        """
        require_steps("iterations", iterations)
        b = tf.cast(tf.convert_to_tensor(b), tf.float32)
        start = tf.zeros_like(b) if start is None else start
        if tf.executing_eagerly():
            weights = (*self._right, *self._down)
            solve = _compiled(self._shape)
            return solve(b, start, self._alpha, iterations, *weights)
        return self._solve(b, start, self._alpha, iterations)

    def _solve(
        self, b: tf.Tensor, start: tf.Tensor, radius: Any, iterations: Any
    ) -> tf.Tensor:
        """The iteration, in whatever graph this is called in."""
        black_b, white_b = self._split(b)
        black, white = self._split(start)

        def advance(step: Any, black: Any, white: Any, weight: Any) -> tuple[Any, ...]:
            white += weight * (tf.add_n([*self._to_white(black), white_b]) - white)
            weight = next_weight(radius, step, weight)
            black += weight * (tf.add_n([*self._to_black(white), black_b]) - black)
            return step + 1, black, white, next_weight(radius, step + 1, weight)

        def is_needed(step: Any, *_: Any) -> tf.Tensor:
            return step < iterations

        state = (tf.constant(0), black, white, tf.constant(1.0))
        _, black, white, _ = loop(is_needed, advance, state)
        return self._join(black, white)

    @classmethod
    def _of_weights(cls, shape: tuple[int, int, int], *weights: tf.Tensor) -> Self:
        """A board of weights that another one has split; it knows no alpha."""
        board = cls.__new__(cls)
        board._set_shape(shape)
        board._right, board._down = weights[:2], weights[2:]
        return board

    def _set_shape(self, shape: tuple[int, int, int]) -> None:
        height, width, self._channels = shape
        self._shape = shape
        self._columns = width + 1 - width % 2
        self._last = (height * self._columns) % 2

    def _to_black(self, white: tf.Tensor) -> list[tf.Tensor]:
        """Weighted neighbours of the black pixels: right, left, below, above."""
        half = (self._columns - 1) // 2 * self._channels
        step = self._channels
        return [
            self._right[0] * white,
            tf.roll(self._right[1] * white, step, axis=1),
            self._down[0] * tf.roll(white, -half, axis=1),
            tf.roll(self._down[1] * white, half + step, axis=1),
        ]

    def _to_white(self, black: tf.Tensor) -> list[tf.Tensor]:
        """Weighted neighbours of the white pixels: left, right, above, below."""
        half = (self._columns - 1) // 2 * self._channels
        step = self._channels
        return [
            self._right[0] * black,
            self._right[1] * tf.roll(black, -step, axis=1),
            tf.roll(self._down[0] * black, half, axis=1),
            self._down[1] * tf.roll(black, -half - step, axis=1),
        ]

    def _split(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The black and the white values, each `[B, M]`."""
        height, width, channels = self._shape
        if self._columns > width:
            z = tf.pad(z, [[0, 0], [0, 0], [0, 1], [0, 0]])
        flat = tf.reshape(z, [-1, height * self._columns * channels])
        if self._last:
            flat = tf.pad(flat, [[0, 0], [0, channels]])
        pairs = tf.reshape(flat, [-1, self._pairs(), 2, channels])
        black, white = pairs[:, :, 0], pairs[:, :, 1]
        size = self._pairs() * channels
        return tf.reshape(black, [-1, size]), tf.reshape(white, [-1, size])

    def _join(self, black: tf.Tensor, white: tf.Tensor) -> tf.Tensor:
        """Both colours as one image, `[B, H, W, C]`."""
        height, width, channels = self._shape
        shape = [-1, self._pairs(), channels]
        pairs = tf.stack([tf.reshape(black, shape), tf.reshape(white, shape)], axis=2)
        size = height * self._columns * channels
        flat = tf.reshape(pairs, [-1, size + self._last * channels])[:, :size]
        image = tf.reshape(flat, [-1, height, self._columns, channels])
        return tf.ensure_shape(image[:, :, :width], [None, *self._shape])

    def _pairs(self) -> int:
        return math.ceil(self._shape[0] * self._columns / 2)


@functools.cache
def _compiled(shape: tuple[int, int, int]) -> Any:
    """The iteration as one graph for all boards of a size, their alpha and steps."""

    def solve(
        b: tf.Tensor, start: tf.Tensor, radius: Any, steps: Any, *weights: tf.Tensor
    ) -> tf.Tensor:
        board = Checkerboard._of_weights(shape, *weights)
        return board._solve(b, start, radius, steps)

    images, number = tf.TensorSpec([None, *shape]), tf.TensorSpec([])
    count, flat = tf.TensorSpec([], tf.int32), tf.TensorSpec([None, None])
    graph = tf.function(solve, autograph=False)
    return graph.get_concrete_function(images, images, number, count, *4 * [flat])
