"""Images, a filter that is slow and plain, and the arrays of any result."""

import dataclasses
import math

import numpy as np

TOP = math.sqrt(2)
# Even, odd, mixed, wide, the smallest; grey and colour.
SHAPES = [(6, 6, 1), (5, 5, 3), (6, 5, 2), (3, 8, 1), (2, 2, 3)]
# 2/3 and 1 are radii of some of these sizes.
SCALES = [0.0, 0.4, 2 / 3, 1.0, 1.2, TOP]


def images(count=3, shape=(6, 5, 2), seed=0):
    return np.random.default_rng(seed).random((count, *shape), np.float32)


def slow_radius(row, column, height, width):
    """Of the frequency at a place of NumPy's spectrum; negative ones come last."""
    down = row if row <= height // 2 else row - height
    across = column if column <= width // 2 else column - width
    return math.hypot(down / (height / 2), across / (width / 2))


def slow_filter(stack, keeps):
    """Frequency by frequency in float64; what is left must be real."""
    stack = np.asarray(stack, np.float64)
    found = np.zeros_like(stack)
    _, height, width, channels = stack.shape
    for number, image in enumerate(stack):
        for channel in range(channels):
            spectrum = np.fft.fft2(image[..., channel])
            for row in range(height):
                for column in range(width):
                    radius = slow_radius(row, column, height, width)
                    # A radius that is the threshold on paper may miss it by 1e-16.
                    if not keeps(round(radius, 9)):
                        spectrum[row, column] = 0.0
            back = np.fft.ifft2(spectrum)
            assert np.abs(back.imag).max() < 1e-12
            found[number, ..., channel] = back.real
    return found


def numbers(found):
    """All arrays of a result, in one order, but for how long it took."""
    if dataclasses.is_dataclass(found):
        found = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
    if isinstance(found, dict):
        found = [value for name, value in found.items() if name != "seconds"]
    if isinstance(found, tuple | list):
        return [array for one in found for array in numbers(one)]
    return [np.asarray(found)]
