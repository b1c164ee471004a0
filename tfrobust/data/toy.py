"""Points in the plane: the smallest problems on which robustness can be seen."""

from __future__ import annotations

import math

import numpy as np

# The moons span [-1, 2] x [-0.5, 1]; a square of side 4 around them leaves room for
# noise and keeps circles circles.
_CENTER = np.array([0.5, 0.25])
_SIDE = 4.0

# Six modes along the line x2 = 2 x1, by class. A square around the origin holds them
# and 15 units around every point: the largest |x2| is near 100 + 2 * 5 + 15.
_MODES = np.array([[-50.0, -10.0, 30.0], [-30.0, 10.0, 50.0]])
LINES_SIDE = 300.0
"""Side of the square of the plane that `make_lines` maps to the unit square."""


def make_two_moons(
    examples: int, noise: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Points along two half circles that reach into each other, in the unit square.

    In the plane where they have radius 1, class 0 is the upper half of the circle
    around (0, 0) and class 1 the lower half of the one around (1, 1/2), both at angles
    drawn uniformly, plus normal noise. A fixed map, the same for every call, takes that
    plane to [0, 1]^2, where images of the library live: 4 units there are 1 here. What
    noise carries out of the square is clipped to its edge.

    Args:
        examples: Number of points N, at least 1; classes differ by at most one.
        noise: Standard deviation of the noise in units of the radius, at least 0.
        seed: Not negative; together with the rest it determines every point.

    Returns:
        Points float32 `[N,2]` in [0, 1] and labels int32 `[N]`, in random order.

    Raises:
        ValueError: If an argument is out of range.

    Reference: Srinivas et al. 2022 (LCNN), Figure 1.

    Example:
        >>> points, labels = make_two_moons(100)
        >>> points.shape, points.dtype, int(labels.sum())
        ((100, 2), dtype('float32'), 50)
    """
    if examples < 1:
        raise ValueError(
            f"`examples` must be at least 1. Received: examples={examples}"
        )
    if not 0 <= noise < math.inf:
        raise ValueError(
            f"`noise` must be a finite number of at least 0. Received: noise={noise}"
        )
    if seed < 0:
        raise ValueError(f"`seed` must not be negative. Received: seed={seed}")
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(examples, dtype=np.int32) % 2)
    angles = random.uniform(0, np.pi, examples)
    upper = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    lower = np.array([1.0, 0.5]) - upper
    plane = np.where(labels[:, None] == 0, upper, lower)
    plane += noise * random.normal(size=plane.shape)
    points = np.clip((plane - _CENTER) / _SIDE + 0.5, 0, 1)
    return points.astype(np.float32), labels


def make_lines(
    examples_per_mode: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Points on a line in the plane, whose classes take turns along it.

    On the line x2 = 2 x1, class 0 lies around x1 = -50, -10 and 30 and class 1 around
    -30, 10 and 50, with a standard deviation of 1 in x1. Modes that are neighbours are
    44.7 apart. Nothing in the data says how a classifier should continue beside the
    line. A fixed map, the same for every call, takes that plane to [0, 1]^2, where
    images of the library live: 300 units there (`LINES_SIDE`) are 1 here, and the
    origin is the centre. The square reaches 15 units and more beyond every point.

    Args:
        examples_per_mode: Points around each of the six modes, at least 1.
        seed: Not negative; together with the rest it determines every point.

    Returns:
        Points float32 `[6 * examples_per_mode,2]` in [0, 1] and labels int32, in random
        order.

    Raises:
        ValueError: If an argument is out of range.

    Reference: Ganz et al. 2023 (PAG), section 5.1 and appendix C.1.

    Example:
        >>> points, labels = make_lines(100)
        >>> points.shape, points.dtype, int(labels.sum())
        ((600, 2), dtype('float32'), 300)
    """
    if examples_per_mode < 1:
        raise ValueError(
            "`examples_per_mode` must be at least 1. "
            f"Received: examples_per_mode={examples_per_mode}"
        )
    if seed < 0:
        raise ValueError(f"`seed` must not be negative. Received: seed={seed}")
    random = np.random.default_rng(seed)
    order = random.permutation(_MODES.size * examples_per_mode)
    centers = np.repeat(_MODES.ravel(), examples_per_mode)[order]
    labels = (order // (_MODES.shape[1] * examples_per_mode)).astype(np.int32)
    first = centers + random.normal(size=len(centers))
    plane = np.stack([first, 2.0 * first], axis=1)
    return (plane / LINES_SIDE + 0.5).astype(np.float32), labels
