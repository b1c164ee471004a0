"""Smoothing a signal on pixels so that it follows an image."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrobust.core.vectors import largest_entry
from tfrobust.settings import require_not_negative, require_steps
from tfrobust.smoothing import checks
from tfrobust.smoothing.checkerboard import Checkerboard
from tfrobust.smoothing.graph import GridGraph, grid_graph
from tfrobust.smoothing.solvers import (
    Chebyshev,
    ConjugateGradient,
    iterations_for,
)

# Relative error of the solution for ones.
_PRECISE = 1e-6

Solver = Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]


class Smoother:
    """Laplacian smoothing guided by images, for signals of their shape.

    `s(z)` solves `L s = z` with `L = (I - alpha W) / (1 - alpha)`, W the normalised
    weights of the image's graph (`grid_graph`): it takes the values of pixels that
    neighbour and resemble each other together, over regions that grow with alpha, and
    leaves edges sharp. Calling the object gives the normalised `s(z) / s(1)`, which
    keeps constants as they are. With alpha 0 both are the identity.

    The solver makes a fixed number of steps or, `"cg"`, at most so many. Of those that
    need no inverse the first is the fastest at equal error (`benchmarks.smoothing`):

    - `"checkerboard"`: for 4 neighbours; 50 steps leave an error of 1e-3 at alpha
      0.997.
    - `"chebyshev"`: for 8 neighbours too; needs twice the steps, 50 leave 4 %.
    - `"cg"`: conjugate gradients, about as many; stops at `tolerance`. The paper makes
      50 on ImageNet (SMO-S6).
    - `"dense"`: multiplies by an inverse that is computed once, exact; memory of
      (H * W)^2 numbers an image. The paper's on MNIST (SMO-S4).

    Gradients flow into z, by a second solve since L is symmetric, and so do gradients
    of gradients; none flow into the images. They are those of the exact solve, as
    precise as the solver is. Nothing is stored for them but the graph, however many
    iterations there are.

    Args:
        images: Floating `[B, H, W, C]` in [0, 1] with H, W and C known.
        alpha: How far to smooth, in [0, 1): the condition of L is
            `(1 + alpha) / (1 - alpha)`. The paper has 0.95 on MNIST and 0.997 on
            ImageNet.
        iterations: Steps of the solver. `iterations_for` tells how many are needed;
            `"checkerboard"` needs half of them. Only `s(1)`, which is solved for once,
            is always precise.
        kernel: As for `grid_graph`.
        bandwidth: As for `grid_graph`.
        neighbors: As for `grid_graph`.
        spatial_bandwidth: As for `grid_graph`.
        solver: As above; `None`: `"checkerboard"` where there are 4 neighbours,
            `"chebyshev"` where 8.
        tolerance: Relative residual at which `"cg"` stops. In float32 it does not get
            below some 1e-4 at alpha 0.997, and then makes all of its steps.
        jit_compile: Whether to compile the solves by XLA: some two times as fast, after
            a second for each new object and shape. Not for exports, as not every server
            has it.
        for_export: Whether gradients of gradients pass through the solver's steps, and
            take memory for each, instead of a third solve. TensorFlow saves the
            gradient of a function but not that gradient's own, so a SavedModel has
            second derivatives in this way alone.

    Raises:
        ValueError: If a setting is out of range or the images are not as described;
            eagerly also if a pixel is NaN or infinite.

    Reference: Zhang et al. 2020, Smooth Adversarial Examples, equations 7 to 9;
    the gradient, equation 19.

    Example:
        >>> images = tf.constant([[[[0.0], [0.0], [1.0], [1.0]]]])
        >>> z = tf.constant([[[[1.0], [0.0], [0.0], [0.0]]]])
        >>> smooth = Smoother(images, alpha=0.95, bandwidth=0.1)
        >>> result = smooth(z)  # stops at the edge
        >>> [round(float(value), 2) for value in result[0, 0, :, 0]]
        [0.51, 0.49, 0.0, 0.0]
        >>> smooth(tf.ones_like(z)).numpy().ravel().round(5).astype(int).tolist()
        [1, 1, 1, 1]
    """

    def __init__(
        self,
        images: Any,
        alpha: float = 0.997,
        iterations: int = 50,
        *,
        kernel: str = "laplacian",
        bandwidth: float = 0.1,
        neighbors: int = 4,
        spatial_bandwidth: float | None = None,
        solver: str | None = None,
        tolerance: float = 1e-4,
        jit_compile: bool = False,
        for_export: bool = False,
    ) -> None:
        checks.check_alpha(alpha)
        checks.check_graph(kernel, bandwidth, neighbors, spatial_bandwidth)
        solver = solver or checks.default_solver(neighbors)
        checks.check_solver(solver, neighbors)
        require_steps("iterations", iterations)
        require_not_negative("tolerance", tolerance)
        self.alpha, self.iterations = float(alpha), iterations
        self.graph: GridGraph = grid_graph(
            images,
            kernel=kernel,
            bandwidth=bandwidth,
            neighbors=neighbors,
            spatial_bandwidth=spatial_bandwidth,
        )
        # Precise however few the steps: where s(1) is too small, s(z) / s(1) explodes.
        enough = max(iterations, iterations_for(alpha, _PRECISE))
        precise = self._make_solver(solver, enough, min(tolerance, _PRECISE))
        images = tf.cast(tf.convert_to_tensor(images), tf.float32)
        self.of_ones = precise(tf.ones_like(images), None)
        self._solver = self._make_solver(solver, iterations, tolerance)
        if jit_compile:
            self._solver = tf.function(
                self._solver, autograph=False, jit_compile=True, reduce_retracing=True
            )
        self._smooth = self._make_smooth(for_export)

    def __call__(self, z: Any) -> tf.Tensor:
        """The normalised smoothing `s(z) / s(1)`.

        Args:
            z: Floating `[B, H, W, C]`, of the images' shape.

        Returns:
            float32 `[B, H, W, C]`.

        Raises:
            ValueError: If `z` has another shape.
        """
        return self.smooth(z) / self.of_ones

    def smooth(self, z: Any) -> tf.Tensor:
        """The smoothing `s(z)` itself, a solve.

        Args:
            z: As for a call.

        Returns:
            float32 `[B, H, W, C]`.

        Raises:
            ValueError: If `z` has another shape.
        """
        return self._smooth(self.graph.as_signal(z))

    def solve(self, z: Any, start: tf.Tensor | None = None) -> tf.Tensor:
        """`smooth` from a start near the answer; no gradient flows through it.

        For loops in which z moves little between two solves, and a few steps from the
        last answer replace many from zero.

        Args:
            z: As for a call.
            start: float32 `[B, H, W, C]`, an approximation of the answer; zeros if
                `None`.

        Returns:
            float32 `[B, H, W, C]`.

        Raises:
            ValueError: If `z` has another shape.
        """
        start = None if start is None else tf.stop_gradient(self.graph.as_signal(start))
        return self._solver(tf.stop_gradient(self.graph.as_signal(z)), start)

    def multiply(self, z: Any) -> tf.Tensor:
        """The product `L z`, the inverse of `smooth`.

        Args:
            z: As for a call.

        Returns:
            float32 `[B, H, W, C]`.

        Raises:
            ValueError: If `z` has another shape.
        """
        return _times(self.graph, self.alpha, z)

    def residual(self, z: Any, smoothed: Any) -> tf.Tensor:
        """How far `smoothed` is from solving `L s = z`: `|z - L s| / |z|`.

        The error of s itself is at most `(1 + alpha) / (1 - alpha)` times that,
        relative to s.

        Args:
            z: As for a call.
            smoothed: Floating `[B, H, W, C]`.

        Returns:
            float32 `[B]`, 0 where z is 0.

        Raises:
            ValueError: If a shape does not fit.
        """
        z = self.graph.as_signal(z)
        scale = largest_entry(z)  # squares of small gradients would underflow
        missing, whole = (
            tf.reduce_sum(tf.square(tf.math.divide_no_nan(signal, scale)), [1, 2, 3])
            for signal in (z - self.multiply(smoothed), z)
        )
        return tf.sqrt(tf.math.divide_no_nan(missing, whole))

    def to_sparse(self) -> tf.SparseTensor:
        """The matrix L of each image, `tf.SparseTensor` `[B, H*W, H*W]`.

        Pixels are numbered row by row; one matrix serves all channels.
        """
        weights = self.graph.to_sparse()
        rows, pixels = weights.dense_shape[0], weights.dense_shape[1]
        image, pixel = tf.meshgrid(tf.range(rows), tf.range(pixels), indexing="ij")
        index = tf.stack([tf.reshape(x, [-1]) for x in (image, pixel, pixel)], axis=1)
        diagonal = tf.ones([tf.shape(index)[0]])
        identity = tf.SparseTensor(index, diagonal, weights.dense_shape)
        whole = tf.sparse.add(identity, weights * -self.alpha)
        return whole * (1.0 / (1.0 - self.alpha))

    def _make_solver(self, solver: str, steps: int, tolerance: float) -> Solver:
        alpha, graph = self.alpha, self.graph
        if solver == "checkerboard":
            board = Checkerboard(graph, alpha)
            return lambda z, start: board.solve((1.0 - alpha) * z, steps, start)
        if solver == "chebyshev":
            plain = Chebyshev(radius=alpha, iterations=steps)

            def product(x: tf.Tensor) -> tf.Tensor:
                return alpha * graph.multiply(x)

            return lambda z, start: plain.solve(product, (1.0 - alpha) * z, start)
        if solver == "cg":
            method = ConjugateGradient(iterations=steps, tolerance=tolerance)
            # Kept, as a bound method is not: its graph is kept for as long.
            operator = functools.partial(_times, graph, alpha)
            return lambda z, start: method.solve(operator, z, start).x
        return _dense(self.to_sparse(), graph.shape)

    def _make_smooth(self, for_export: bool) -> Callable[[tf.Tensor], tf.Tensor]:
        """The solve with its gradient, which is the solve again: L is symmetric."""

        def solve(z: tf.Tensor) -> tf.Tensor:
            return self._solver(z, self._guess(z))

        @tf.custom_gradient
        def smooth(z: tf.Tensor) -> tuple[tf.Tensor, Any]:
            # Nothing of the iterations is recorded, nor compiled for a gradient.
            again = solve if for_export else smooth
            return solve(tf.stop_gradient(z)), lambda upstream: again(upstream)

        return smooth

    def _guess(self, z: tf.Tensor) -> tf.Tensor:
        """The answer for the mean of z: exact for constants, better than 0 for all."""
        return tf.reduce_mean(z, axis=[1, 2], keepdims=True) * self.of_ones


def _times(graph: GridGraph, alpha: float, z: Any) -> tf.Tensor:
    """The product `L z`."""
    z = graph.as_signal(z)
    return (z - alpha * graph.multiply(z)) / (1.0 - alpha)


def _dense(matrix: tf.SparseTensor, shape: tuple[int, int, int]) -> Solver:
    """Products with the inverse matrices, which are computed here."""
    height, width, channels = shape
    inverse = tf.linalg.inv(tf.sparse.to_dense(matrix))

    def solve(z: tf.Tensor, start: tf.Tensor | None) -> tf.Tensor:
        columns = tf.reshape(z, [-1, height * width, channels])
        return tf.reshape(tf.matmul(inverse, columns), [-1, *shape])

    return solve
