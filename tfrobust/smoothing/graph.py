"""The grid graph of an image: pixels are nodes, similar neighbours are bound closely.

Edge weights are a few images of numbers, one for each direction, and every product with
the graph's matrix is a handful of shifts: the matrix itself, with its height * width
rows, is never stored.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf

from tfrobust.core.images import check_finite, check_images
from tfrobust.core.vectors import by_largest_entry
from tfrobust.smoothing import checks

_STRAIGHT = ((0, 1), (1, 0))
_DIAGONAL = ((1, 1), (1, -1))
OFFSETS = {4: _STRAIGHT, 8: _STRAIGHT + _DIAGONAL}
"""Row and column steps to the neighbours ahead; those behind are the same edges."""


class GridGraph(NamedTuple):
    """The symmetrically normalised weights of a batch of images' graphs.

    Attributes:
        shape: `(H, W, C)` of one image.
        neighbors: 4 or 8.
        weights: For each step of `OFFSETS[neighbors]` float32 `[B, H*W*C]`: the weight
            of the edge from each pixel to its neighbour ahead, 0 where that lies
            outside; the same for all channels of a pixel.
        root_degrees: float32 `[B, H, W, 1]`, square root of each pixel's degree over
            the largest of its image. It is the eigenvector of the eigenvalue 1.
    """

    shape: tuple[int, int, int]
    neighbors: int
    weights: tuple[tf.Tensor, ...]
    root_degrees: tf.Tensor

    def multiply(self, z: tf.Tensor) -> tf.Tensor:
        """The product `W z` with the normalised weights, each channel by itself.

        `W = D^-1/2 A D^-1/2` of equation 7, A the edge weights and D their row sums;
        its eigenvalues lie in [-1, 1].

        Args:
            z: Floating `[B, H, W, C]`.

        Returns:
            float32 `[B, H, W, C]`.

        Raises:
            ValueError: If `z` has another shape than the images.
        """
        z = self.as_signal(z)
        flat = tf.reshape(z, [-1, math.prod(self.shape)])
        terms = []
        for step, weight in zip(self._steps(), self.weights, strict=True):
            # What wraps around meets a weight of 0.
            terms.append(weight * tf.roll(flat, -step, axis=1))
            terms.append(tf.roll(weight * flat, step, axis=1))
        return tf.reshape(tf.add_n(terms), [-1, *self.shape])

    def roughness(self, z: tf.Tensor) -> tf.Tensor:
        """How unlike its neighbours each pixel of `z` is, as the graph sees it.

        The quadratic form of the normalised Laplacian over the squared norm,
        `<z, (I - W) z> / <z, z>`: 0 for the smoothest signal, 1 for independent noise,
        at most 2. Neighbours across an edge of the image hardly count. The form is half
        the sum over pairs of pixels in equation 14 of the paper.

        Args:
            z: Floating `[B, H, W, C]`, a perturbation for instance.

        Returns:
            float32 `[B]`, 0 where `z` is 0.

        Raises:
            ValueError: If `z` has another shape than the images.
        """
        z = self.as_signal(z)
        # Squares of small perturbations would underflow.
        z = by_largest_entry(z)
        form = tf.reduce_sum(z * (z - self.multiply(z)), axis=[1, 2, 3])
        return tf.math.divide_no_nan(form, tf.reduce_sum(z * z, axis=[1, 2, 3]))

    def as_signal(self, z: Any) -> tf.Tensor:
        """`z` as float32 `[B, H, W, C]`; `ValueError` if it has not the images' shape.

        Args:
            z: Floating, of any precision.
        """
        return checks.check_fits(z, [self.root_degrees.shape[0], *self.shape])

    def to_sparse(self) -> tf.SparseTensor:
        """The normalised weights as matrices, `tf.SparseTensor` `[B, H*W, H*W]`.

        Pixels are numbered row by row; one matrix serves all channels.
        """
        height, width, channels = self.shape
        pixels = height * width
        rows = tf.shape(self.root_degrees)[0]
        indices, values = [], []
        for step, weight in zip(self._steps(), self.weights, strict=True):
            weight = tf.reshape(weight, [-1, pixels, channels])[:, :, 0]
            index = tf.where(weight > 0.0)
            ahead = index + tf.constant([0, step // channels], tf.int64)
            here, there = index[:, 1:], ahead[:, 1:]
            indices += [
                tf.concat([index[:, :1], here, there], axis=1),
                tf.concat([index[:, :1], there, here], axis=1),
            ]
            values += 2 * [tf.gather_nd(weight, index)]
        shape = tf.cast(tf.stack([rows, pixels, pixels]), tf.int64)
        matrix = tf.SparseTensor(tf.concat(indices, 0), tf.concat(values, 0), shape)
        return tf.sparse.reorder(matrix)

    def _steps(self) -> list[int]:
        _, width, channels = self.shape
        offsets = OFFSETS[self.neighbors]
        return [(down * width + right) * channels for down, right in offsets]


def grid_graph(
    images: Any,
    *,
    kernel: str = "laplacian",
    bandwidth: float = 0.1,
    neighbors: int = 4,
    spatial_bandwidth: float | None = None,
) -> GridGraph:
    """The graph of each image of a batch: its pixels, neighbours joined by similarity.

    The weight of an edge is `k_f(x_i, x_j) * k_s(p_i, p_j)`, of the pixels' values x
    and places p. Weights are computed in logarithms, so that no bandwidth
    down to 1e-10 makes all of a pixel's edges vanish: it stays bound to the most
    similar of its neighbours.

    Args:
        images: Floating `[B, H, W, C]`, H, W and C known.
        kernel: Of the values: `"laplacian"`, `exp(-|x_i - x_j| / bandwidth)`, or
            `"gaussian"`, `exp(-|x_i - x_j|^2 / (2 bandwidth^2))`; `|.|` is the
            Euclidean norm over channels.
        bandwidth: Of that kernel, in the units of the images, above 0.
        neighbors: 4, or 8 with the diagonals.
        spatial_bandwidth: Of a Gaussian `k_s` in pixels; `None`: 1 on every edge, as in
            the paper. It makes no difference with 4 neighbours, which are equally far.

    Returns:
        The graph; constants of the images, no gradient flows into them.

    Raises:
        ValueError: If a setting is out of range, the images are not floating, not of
            rank 4 or of unknown size; eagerly also if a pixel is NaN or infinite.

    Reference: Zhang et al. 2020, Smooth Adversarial Examples, equations 5 and
    7; 4 neighbours, as in the authors' code (SMO-R7), since the paper gives no number.

    Example:
        >>> images = tf.constant([[[[0.0], [0.0], [1.0]]]])  # one row of three pixels
        >>> graph = grid_graph(images, bandwidth=0.1)
        >>> weights = tf.sparse.to_dense(graph.to_sparse())[0].numpy()
        >>> round(float(weights[0, 1]), 3), round(float(weights[1, 2]), 3)
        (1.0, 0.007)
    """
    images = check_images(images, sized=True)
    check_finite("images", images)
    checks.check_graph(kernel, bandwidth, neighbors, spatial_bandwidth)
    images = tf.stop_gradient(images)
    logs = []
    for offset in OFFSETS[neighbors]:
        squares = tf.square(images - _ahead(images, offset))
        distance = tf.sqrt(tf.reduce_sum(squares, axis=-1, keepdims=True))
        log = _log_kernel(kernel, distance / bandwidth)
        if spatial_bandwidth is not None:
            log -= math.hypot(*offset) ** 2 / (2.0 * spatial_bandwidth**2)
        logs.append(tf.where(_is_inside(images, offset), log, -math.inf))
    around = logs + [
        _ahead(log, (-down, -right))
        for log, (down, right) in zip(logs, OFFSETS[neighbors], strict=True)
    ]
    stacked = tf.concat(around, axis=-1)
    # A pixel alone has no neighbour. The degree's logarithm is kept in two parts: next
    # to a large one, that there are two neighbours and not one would be rounded away.
    nearest = tf.reduce_max(stacked, axis=-1, keepdims=True)
    nearest = tf.where(tf.math.is_finite(nearest), nearest, 0.0)
    relative = tf.reduce_logsumexp(stacked - nearest, axis=-1, keepdims=True)
    weights = []
    for log, offset in zip(logs, OFFSETS[neighbors], strict=True):
        here, there = log - nearest, log - _ahead(nearest, offset)
        rest = relative + _ahead(relative, offset)
        weight = tf.where(log > -math.inf, tf.exp(0.5 * (here + there - rest)), 0.0)
        weights.append(_flat(weight, images))
    largest = tf.reduce_max(nearest, axis=[1, 2], keepdims=True)
    roots = tf.exp(0.5 * (nearest - largest + relative))
    roots = tf.where(tf.math.is_finite(relative), roots, 1.0)
    roots /= tf.reduce_max(roots, axis=[1, 2], keepdims=True)
    shape = tuple(images.shape[1:])
    return GridGraph(shape, neighbors, tuple(weights), roots)


def _log_kernel(kernel: str, distance: tf.Tensor) -> tf.Tensor:
    """Logarithm of the kernel at a distance in bandwidths."""
    return -distance if kernel == "laplacian" else -0.5 * tf.square(distance)


def _ahead(values: tf.Tensor, offset: tuple[int, int]) -> tf.Tensor:
    """At each pixel the value of its neighbour; wraps around."""
    down, right = offset
    return tf.roll(values, [-down, -right], axis=[1, 2])


def _is_inside(images: tf.Tensor, offset: tuple[int, int]) -> tf.Tensor:
    """Whether the neighbour of each pixel is in the image, bool `[1, H, W, 1]`."""
    height, width = images.shape[1:3]
    down, right = offset
    row = tf.range(height)[None, :, None, None] + down
    column = tf.range(width)[None, None, :, None] + right
    return (row < height) & (column >= 0) & (column < width)


def _flat(weight: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """One weight a pixel as one a value, `[B, H*W*C]`.

    Repeated, since a product that broadcasts over a few channels is slow on a CPU.
    """
    _, height, width, channels = images.shape
    wide = tf.tile(weight, [1, 1, 1, channels])
    return tf.reshape(wide, [-1, height * width * channels])
