"""Largest singular values of what layers do to an image, in NumPy's float64 or near."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfrobust.layers import linear_maps

# A map with fewer inputs than this is written out as a matrix.
_SMALL = 1024
# For larger ones: rounds that leave a norm short by 1e-4 at most, usually far less.
_KRYLOV_ROUNDS = 60

LinearMap = Callable[[Any], Any]


def matrix_norm(matrix: Any) -> float:
    """Largest singular value of a matrix.

    Example:
        >>> matrix_norm([[3.0, 0.0], [0.0, -4.0]])
        4.0
    """
    return float(np.linalg.norm(np.asarray(matrix, np.float64), 2))


def map_norm(apply: LinearMap, adjoint: LinearMap, size: tuple[int, ...]) -> float:
    """Largest singular value of a linear map of images.

    Args:
        apply: The map, of float32 `[B,H,W,C]`.
        adjoint: Its transpose.
        size: `(H, W, C)` of its input.

    Returns:
        By the singular values of its matrix where the input is small, else by Krylov
        iteration, which is short by 1e-4 at most.

    Example:
        >>> round(map_norm(lambda x: -2 * x, lambda y: -2 * y, (2, 2, 1)), 4)
        2.0
    """
    count = math.prod(size)
    if count <= _SMALL:
        basis = np.eye(count, dtype=np.float32).reshape(count, *size)
        return matrix_norm(np.asarray(apply(basis)).reshape(count, -1))
    zeros = keras.ops.zeros((1, *size))
    start = keras.random.normal(apply(zeros).shape, seed=0)
    _, right = linear_maps.krylov_iteration(apply, adjoint, start, _KRYLOV_ROUNDS)
    return float(np.linalg.norm(np.asarray(apply(right), np.float64)))


def convolution_norm(
    kernel: Any,
    size: tuple[int, ...],
    strides: Any,
    padding: str,
    dilation_rate: Any = (1, 1),
    groups: int = 1,
) -> float:
    """Largest singular value of a convolution at its input size `(H, W, C)`.

    Example:
        >>> import numpy as np
        >>> round(convolution_norm(np.ones((1, 1, 1, 4), "f"), (3, 3, 1), (1, 1),
        ...                        "same"), 4)
        2.0
    """
    kernel = keras.ops.convert_to_tensor(kernel)
    settings = (tuple(strides), padding, tuple(dilation_rate), groups)

    def apply(x: Any) -> Any:
        return linear_maps.convolution(
            keras.ops.convert_to_tensor(x), kernel, *settings
        )

    def adjoint(y: Any) -> Any:
        return linear_maps.convolution_adjoint(y, kernel, (size[0], size[1]), *settings)

    return map_norm(apply, adjoint, size)


def depthwise_norm(
    kernel: Any,
    size: tuple[int, ...],
    strides: Any,
    padding: str,
    dilation_rate: Any,
) -> float:
    """Largest singular value of a depthwise convolution: the largest of the channels'.

    Example:
        >>> import numpy as np
        >>> kernel = np.array([3.0, -4.0], "f").reshape(1, 1, 2, 1)
        >>> round(depthwise_norm(kernel, (3, 3, 2), (1, 1), "same", (1, 1)), 4)
        4.0
    """
    kernel = keras.ops.convert_to_tensor(kernel)
    settings = (tuple(strides), padding, tuple(dilation_rate))

    def apply(x: Any) -> Any:
        return linear_maps.depthwise_convolution(x, kernel, *settings)

    def adjoint(y: Any) -> Any:
        return linear_maps.depthwise_adjoint(y, kernel, (size[0], size[1]), *settings)

    return map_norm(apply, adjoint, size)


def transposed_norm(
    kernel: Any, size: tuple[int, ...], strides: Any, padding: str
) -> float:
    """Largest singular value of a transposed convolution, `size` its input's.

    Example:
        >>> import numpy as np
        >>> round(transposed_norm(np.ones((1, 1, 4, 1), "f"), (3, 3, 1), (1, 1),
        ...                       "same"), 4)
        2.0
    """
    kernel = keras.ops.convert_to_tensor(kernel)

    def apply(x: Any) -> Any:
        return keras.ops.conv_transpose(
            x, kernel, strides=strides, padding=padding, data_format="channels_last"
        )

    def adjoint(y: Any) -> Any:
        return linear_maps.convolution(y, kernel, tuple(strides), padding)

    return map_norm(apply, adjoint, size)


def average_norm(size: int, pool: int, stride: int, padding: str) -> float:
    """Largest singular value of average pooling along one axis.

    Example:
        >>> average_norm(size=8, pool=4, stride=4, padding="valid")
        0.5
    """
    output, before, _ = linear_maps.convolution_geometry(size, pool, stride, padding)
    matrix = np.zeros((output, size))
    for row in range(output):
        first = row * stride - before
        window = slice(max(first, 0), min(first + pool, size))
        matrix[row, window] = 1.0 / (window.stop - window.start)  # padding not counted
    return matrix_norm(matrix)
