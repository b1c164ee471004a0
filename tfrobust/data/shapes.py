"""Ten classes of drawn shapes, 32x32 in colour: a data set that needs no network.

Place, size, tilt, colours, contrast and background are drawn alike for all classes, so
that only the outline tells them apart. Everything is NumPy and seeded.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfrobust.data.base import Dataset

SIZE = 32
SPLIT_SIZES = {"train": 10_000, "test": 2_000}
_SPLIT_SEEDS = {"train": 1, "test": 2}
_SUBSAMPLES = 3  # Samples a pixel along each axis: smooth edges.
_REACH = 1.15  # Farthest point of any outline from its centre.
_CHUNK = 250  # Images drawn at once: bounds the memory, about 40 MB.
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_shapes(count: int, seed: int) -> Dataset:
    """Draw `count` images of ten shapes.

    Each image holds one shape, whole, tilted by at most 25 degrees and perhaps
    mirrored, in one colour on a flat, graded, striped or cloudy background. Shape and
    background differ in luminance by at least a third of the whole range, before noise.

    Args:
        count: At least 1. Classes differ in number by at most one.
        seed: Not negative; count and seed determine every image.

    Returns:
        A `Dataset` named "shapes": images uint8 `(count, 32, 32, 3)`, labels int32
        `(count,)` in random order.

    Raises:
        ValueError: If `count` is less than 1 or `seed` is negative.

    Example:
        >>> data = make_shapes(20, seed=0)
        >>> data.images.shape, data.images.dtype, data.classes
        ((20, 32, 32, 3), dtype('uint8'), 10)
    """
    if count < 1:
        raise ValueError(f"`count` must be at least 1. Received: count={count}")
    if seed < 0:
        raise ValueError(f"`seed` must not be negative. Received: seed={seed}")
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count, dtype=np.int32) % len(OUTLINES))
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for first in range(0, count, _CHUNK):
        chunk = slice(first, first + _CHUNK)
        images[chunk] = _draw(labels[chunk], random)
    return Dataset("shapes", images, labels, CLASS_NAMES)


def load_shapes(split: str) -> Dataset:
    """The fixed train or test split: 10,000 and 2,000 images of different seeds.

    Args:
        split: `"train"` or `"test"`.

    Returns:
        A `Dataset` named "shapes".

    Raises:
        KeyError: If there is no such split.

    Example:
        >>> len(load_shapes("test"))
        2000
    """
    return make_shapes(SPLIT_SIZES[split], _SPLIT_SEEDS[split])


def _draw(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Images uint8 `(B, 32, 32, 3)` of the given classes."""
    count = len(labels)
    cover = _coverage(labels, random)[..., None]
    dark = random.uniform(0.05, 0.35, count)
    light = dark + random.uniform(0.4, 0.6, count)
    inverted = random.random(count) < 0.5
    ground = _background(np.where(inverted, light, dark), random)
    figure = _color(np.where(inverted, dark, light), random)[:, None, None, :]
    image = ground + cover * (figure - ground)
    strength = random.uniform(0.0, 0.04, (count, 1, 1, 1)).astype(np.float32)
    image += strength * random.standard_normal(image.shape, dtype=np.float32)
    return np.rint(255.0 * np.clip(image, 0.0, 1.0)).astype(np.uint8)


def _coverage(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The part of each pixel inside the shape, float32 `(B, 32, 32)` in [0, 1]."""
    count, side = len(labels), SIZE * _SUBSAMPLES
    # In image widths. No shape is cut off by the border.
    radius = random.uniform(0.23, 0.41, count)
    center = random.uniform(-1.0, 1.0, (2, count)) * (0.49 - _REACH * radius)
    mirror = random.choice([-1.0, 1.0], count)
    angle = np.deg2rad(random.uniform(-25.0, 25.0, count))
    grid = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    samples = np.empty((count, side, side), bool)
    for label, inside in enumerate(OUTLINES.values()):
        member = np.flatnonzero(labels == label)
        cos, sin, size, left, top, flip = (
            value[member].astype(np.float32)[:, None, None]
            for value in (np.cos(angle), np.sin(angle), radius, *center, mirror)
        )
        right, up = (grid[None, None, :] - left) / size, (top - grid[:, None]) / size
        right, up = cos * right + sin * up, cos * up - sin * right
        samples[member] = inside(flip * right, up)
    blocks = samples.reshape(count, SIZE, _SUBSAMPLES, SIZE, _SUBSAMPLES)
    return blocks.mean(axis=(2, 4), dtype=np.float32)


def _background(luminance: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Two colours of nearly one luminance mixed by a pattern, `(B, 32, 32, 3)`."""
    first, second = (
        _color(luminance + random.uniform(-0.05, 0.05, len(luminance)), random)
        for _ in range(2)
    )
    mixture = _pattern(len(luminance), random)[..., None]
    return first[:, None, None] + mixture * (second - first)[:, None, None]


def _pattern(count: int, random: np.random.Generator) -> np.ndarray:
    """Flat, graded, striped or cloudy fields, float32 `(B, 32, 32)` in [0, 1]."""
    grid = np.linspace(-0.5, 0.5, SIZE, dtype=np.float32)
    angle = random.uniform(0.0, 2.0 * np.pi, (count, 1, 1)).astype(np.float32)
    along = np.cos(angle) * grid[None, None, :] + np.sin(angle) * grid[None, :, None]
    waves = random.uniform(2.0, 6.0, (count, 1, 1)).astype(np.float32)
    kind = random.integers(4, size=(count, 1, 1))
    fields = [
        np.zeros_like(along),
        along / np.sqrt(2.0, dtype=np.float32) + 0.5,
        0.5 + 0.5 * np.sin(2.0 * np.pi * waves * along),
        _clouds(count, random),
    ]
    return np.select([kind == index for index in range(4)], fields)


def _clouds(count: int, random: np.random.Generator, cells: int = 7) -> np.ndarray:
    """Smooth noise: random values on a coarse grid, interpolated linearly."""
    place = np.linspace(0.0, cells - 1.0, SIZE)
    weights = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(cells)))
    weights = weights.astype(np.float32)
    coarse = random.random((count, cells, cells), dtype=np.float32)
    return weights @ coarse @ weights.T


def _color(luminance: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Random RGB colours of the given luminances, float32 `(B, 3)` in [0, 1].

    A random colour is mixed with black or white until its luminance is right.
    """
    target = np.clip(luminance, 0.0, 1.0).astype(np.float32)[:, None]
    color = random.random((len(luminance), 3), dtype=np.float32)
    now = (color @ _LUMINANCE)[:, None]
    darker = color * target / np.maximum(now, 1e-6)
    lighter = color + (1.0 - color) * (target - now) / np.maximum(1.0 - now, 1e-6)
    return np.where(now > target, darker, lighter)


def _polygon(*corners: tuple[float, float]) -> Inside:
    """The inside of a polygon, by the even-odd rule."""

    def inside(right: np.ndarray, up: np.ndarray) -> np.ndarray:
        odd = np.zeros(np.broadcast_shapes(right.shape, up.shape), bool)
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if y0 == y1:  # A level edge is never crossed by a level ray.
                continue
            crossing = x0 + (up - y0) * ((x1 - x0) / (y1 - y0))
            odd ^= ((up < y0) != (up < y1)) & (right < crossing)
        return odd

    return inside


def _star_corners(outer: float, inner: float) -> list[tuple[float, float]]:
    """Ten corners, the first tip pointing up."""
    turns = np.deg2rad(np.arange(10) * 36.0)
    reach = np.where(np.arange(10) % 2, inner, outer)
    return list(zip(reach * np.sin(turns), reach * np.cos(turns), strict=True))


# The round outlines: whether points, in units of the radius, lie inside.


def _circle(right: np.ndarray, up: np.ndarray) -> np.ndarray:
    return right**2 + up**2 < 0.9**2


def _ring(right: np.ndarray, up: np.ndarray) -> np.ndarray:
    distance = right**2 + up**2
    return (distance < 1.0) & (distance > 0.56**2)


def _square(right: np.ndarray, up: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(right), np.abs(up)) < 0.8


def _cross(right: np.ndarray, up: np.ndarray) -> np.ndarray:
    across, along = np.abs(right), np.abs(up)
    return (np.minimum(across, along) < 0.3) & (np.maximum(across, along) < 0.95)


def _heart(right: np.ndarray, up: np.ndarray) -> np.ndarray:
    x, y = 1.2 * right, 1.2 * up + 0.1
    body = x * x + y * y - 1.0
    return body * body * body < x * x * y * y * y


def _crescent(right: np.ndarray, up: np.ndarray) -> np.ndarray:
    disc = right**2 + up**2 < 1.0
    return disc & ((right - 0.45) ** 2 + (up - 0.1) ** 2 > 0.78**2)


def _hourglass(right: np.ndarray, up: np.ndarray) -> np.ndarray:
    return (np.abs(up) < 0.9) & (np.abs(right) < 0.07 + 0.7 * np.abs(up))


# Insertion order is label order.
OUTLINES: dict[str, Inside] = {
    "circle": _circle,
    "ring": _ring,
    "square": _square,
    "triangle": _polygon((0.0, 1.1), (-1.0, -0.55), (1.0, -0.55)),
    "star": _polygon(*_star_corners(1.08, 0.44)),
    "heart": _heart,
    "cross": _cross,
    "crescent": _crescent,
    "arrow": _polygon(
        (0.0, 1.0),
        (0.85, 0.1),
        (0.32, 0.1),
        (0.32, -1.0),
        (-0.32, -1.0),
        (-0.32, 0.1),
        (-0.85, 0.1),
    ),
    "hourglass": _hourglass,
}
CLASS_NAMES = tuple(OUTLINES)
