"""Centres of the clusters that a set of images falls into.

k-means is by hand, since several workers must get the same centres to the last bit,
whatever their processors and threads: the sums that decide which centre is nearest are
exact here, which no library's k-means promises.
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 50

# Distances are those of values rounded to this grid. Of up to 2 million pixels in
# [0, 1] float64 then holds every product and every sum exactly. So no order of
# summation, no number of threads and no kind of processor can make workers disagree on
# a tie.
_GRID = 2.0**16


def k_means(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Lloyd's algorithm from k-means++ seeds.

    Args:
        images: float32 `[N,...]`, N at least 1.
        count: Number of clusters; N where it is more.
        seed: Of the first centres.

    Returns:
        Centres float32 `[min(count, N),...]`, each the mean of the images nearest to
        it, or one of several equal images. 50 rounds may end in an approximation. They
        depend on the arguments alone, bit for bit, for images in [0, 1].

    Reference: Lloyd 1982; Arthur and Vassilvitskii 2007 (k-means++).

    Example:
        >>> points = np.array([[0.0], [0.25], [1.0]], np.float32)
        >>> np.sort(k_means(points, 2, seed=0).ravel()).tolist()
        [0.125, 1.0]
    """
    points = images.reshape(len(images), -1)
    rounded = _on_grid(points)
    lengths = _squares(rounded)
    count = min(count, len(points))
    random = np.random.default_rng(seed)
    centers = points[_first_centers(rounded, lengths, count, random)]
    nearest = None
    for _ in range(_ROUNDS):
        distances = _distances(rounded, lengths, _on_grid(centers))
        before, nearest = nearest, np.argmin(distances, axis=1)
        if before is not None and np.array_equal(before, nearest):
            break
        for cluster in np.unique(nearest):
            own = points[nearest == cluster]
            centers[cluster] = own.mean(axis=0, dtype=np.float64)
    return centers.reshape(count, *images.shape[1:])


def _first_centers(
    points: np.ndarray, lengths: np.ndarray, count: int, random: np.random.Generator
) -> list[int]:
    """Rows far apart: each is drawn by its squared distance to those before."""
    chosen = [int(random.integers(len(points)))]
    distance = _distances(points, lengths, points[chosen])[:, 0]
    for _ in range(count - 1):
        total = distance.sum()
        odds = distance / total if total > 0 else None
        chosen.append(int(random.choice(len(points), p=odds)))
        last = _distances(points, lengths, points[chosen[-1:]])[:, 0]
        distance = np.minimum(distance, last)
    return chosen


def _on_grid(values: np.ndarray) -> np.ndarray:
    """Values as whole numbers of steps of the grid, float64."""
    return np.rint(values * _GRID, dtype=np.float64)


def _squares(points: np.ndarray) -> np.ndarray:
    """Squared norms `[N]` of `[N,D]`."""
    return np.einsum("nd,nd->n", points, points)


def _distances(
    points: np.ndarray, lengths: np.ndarray, centers: np.ndarray
) -> np.ndarray:
    """Squared Euclidean distances `[N,M]`; `lengths` are the points' squared norms."""
    return lengths[:, None] - 2.0 * (points @ centers.T) + _squares(centers)
