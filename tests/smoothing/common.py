"""The matrices of a smoothing, in float64 from their definition, and exact solves."""

import math

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

SHAPE = (6, 5, 2)


def draw(*shape, seed=0):
    """Uniform float32 numbers in [0, 1), the same on every run."""
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def normal(*shape, seed=1):
    """Normal float32 numbers, the same on every run."""
    random = np.random.default_rng(seed)
    return random.standard_normal(shape).astype(np.float32)


def log_weights(
    image, kernel="laplacian", bandwidth=0.1, neighbors=4, spatial_bandwidth=None
):
    """Logarithm of each edge weight, `{(pixel, pixel): log}`, both ways round."""
    height, width, _ = image.shape
    image = np.asarray(image, np.float64)
    logs = {}
    for row in range(height):
        for column in range(width):
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    far = down * down + right * right
                    r, c = row + down, column + right
                    if far == 0 or far > (1 if neighbors == 4 else 2):
                        continue
                    if not (0 <= r < height and 0 <= c < width):
                        continue
                    d = math.sqrt(((image[row, column] - image[r, c]) ** 2).sum())
                    log = -d / bandwidth
                    if kernel == "gaussian":
                        log = -(d**2) / (2 * bandwidth**2)
                    if spatial_bandwidth is not None:
                        log -= far / (2 * spatial_bandwidth**2)
                    logs[row * width + column, r * width + c] = log
    return logs


def log_degrees(image, **graph):
    """Logarithm of each pixel's degree, minus infinity for one alone."""
    around = [[] for _ in range(image.shape[0] * image.shape[1])]
    for (i, _), log in log_weights(image, **graph).items():
        around[i].append(log)
    degrees = np.full(len(around), -np.inf)
    for i, logs in enumerate(around):
        if logs:
            top = max(logs)
            degrees[i] = top + math.log(sum(math.exp(log - top) for log in logs))
    return degrees


def weights(image, **graph):
    """The normalised weights `D^-1/2 A D^-1/2`, float64 sparse."""
    degrees = log_degrees(image, **graph)
    matrix = scipy.sparse.lil_matrix((len(degrees),) * 2)
    for (i, j), log in log_weights(image, **graph).items():
        matrix[i, j] = math.exp(log - 0.5 * (degrees[i] + degrees[j]))
    return matrix.tocsc()


def laplacian(image, alpha, **graph):
    """The matrix `(I - alpha W) / (1 - alpha)`, float64 sparse."""
    matrix = weights(image, **graph)
    identity = scipy.sparse.identity(matrix.shape[0], format="csc")
    return ((identity - alpha * matrix) / (1 - alpha)).tocsc()


def per_channel(function, signal):
    """A function of vectors over pixels, on each channel of `[H, W, C]`."""
    columns = np.asarray(signal, np.float64).reshape(-1, signal.shape[-1])
    return np.stack([function(c) for c in columns.T], axis=-1).reshape(signal.shape)


def exact(images, z, alpha, **graph):
    """`s(z)` of a batch by direct float64 solves."""
    return np.stack(
        [
            per_channel(
                scipy.sparse.linalg.splu(laplacian(image, alpha, **graph)).solve, row
            )
            for image, row in zip(images, z, strict=True)
        ]
    )


def exact_normalized(images, z, alpha, **graph):
    """`s(z) / s(1)` of a batch by direct float64 solves."""
    smoothed_ones = exact(images, np.ones_like(z), alpha, **graph)
    return exact(images, z, alpha, **graph) / smoothed_ones


def relative_error(actual, expected):
    """Euclidean distance of each image over the length of what is expected."""
    rows = len(expected)
    missing = (np.asarray(actual, np.float64) - expected).reshape(rows, -1)
    return np.linalg.norm(missing, axis=1) / np.linalg.norm(
        expected.reshape(rows, -1), axis=1
    )
