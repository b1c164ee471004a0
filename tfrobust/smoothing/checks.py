"""What is wrong with an image, a graph's settings or a solver's, in one sentence."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrobust.settings import require, require_positive

KERNELS = ("laplacian", "gaussian")
SOLVERS = ("checkerboard", "chebyshev", "cg", "dense")
NEIGHBORS = (4, 8)


def check_alpha(alpha: float) -> None:
    """Raises `ValueError` unless `alpha` is in [0, 1)."""
    require(0 <= alpha < 1, "alpha", alpha, "in [0, 1)")


def check_graph(
    kernel: str, bandwidth: float, neighbors: int, spatial_bandwidth: float | None
) -> None:
    """Raises `ValueError` over a setting of the graph."""
    require(kernel in KERNELS, "kernel", kernel, f"one of {KERNELS}")
    require_positive("bandwidth", bandwidth)
    require(neighbors in NEIGHBORS, "neighbors", neighbors, f"one of {NEIGHBORS}")
    if spatial_bandwidth is not None:
        require_positive("spatial_bandwidth", spatial_bandwidth)


def check_solver(solver: str, neighbors: int) -> None:
    """Raises `ValueError` over a solver that is none, or not for this graph."""
    require(solver in SOLVERS, "solver", solver, f"one of {SOLVERS}")
    if solver == "checkerboard" and neighbors != 4:
        raise ValueError(
            '`solver="checkerboard"` needs `neighbors=4`, where the neighbours of black'
            f" pixels are white. Received: neighbors={neighbors}"
        )


def default_solver(neighbors: int) -> str:
    """The fastest solver of a graph with so many neighbours.

    Example:
        >>> default_solver(4), default_solver(8)
        ('checkerboard', 'chebyshev')
    """
    return "checkerboard" if neighbors == 4 else "chebyshev"


def check_fits(z: Any, shape: list[int | None]) -> tf.Tensor:
    """A signal for each value of the images as float32; raises `ValueError` if not."""
    z = tf.cast(tf.convert_to_tensor(z), tf.float32)
    if not z.shape.is_compatible_with(shape):
        sizes = ", ".join("B" if size is None else str(size) for size in shape)
        raise ValueError(
            f"`z` must have the images' shape [{sizes}]. Received: shape={z.shape}"
        )
    return z
