"""What a request must be, checked inside of the graph.

A server does not hold a request against the signature. A tensor of the wrong rank gets
as far as the first convolution and may take the process down there, so each check here
comes before whatever uses the tensor, not beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from export.limits import MAX_BATCH
from tfrobust.core.pixels import UNIT, Bounds

FREE_SIDES = (32, 96, 224, 320)
"""What is tried, in this order, where an image may have any size."""

FREE_NUMBERS = 224 * 224 * 3
"""What an image counts as that may have any size: as many images as a request may hold
have so many numbers each, on average, at most.
"""

MAX_CHANGE = 1e6
"""Size of a number in a perturbation, at most, so that sums of them are finite."""

PREDICTED = -1
"""Stands for the most likely class where a request names a class."""

Check = tuple[Any, list[Any]]
"""A condition, and the text and tensors of the error where it does not hold."""


def free_side(shape: Sequence[int | None], run: Callable[[tf.Tensor], object]) -> int:
    """What stands for the sides of an image that may have any size.

    Args:
        shape: `(H, W, C)`, `None` where any size will do.
        run: The network, called on a grey image.

    Returns:
        The first of `FREE_SIDES` that it answers; the first of all if it answers none
        or no side is free.
    """
    for side in FREE_SIDES if None in shape else ():
        try:
            run(tf.fill([1, *(size or side for size in shape)], 0.5))
        except (ValueError, tf.errors.OpError):
            continue
        return side
    return FREE_SIDES[0]


def checked_images(
    images: tf.Tensor,
    shape: Sequence[int | None],
    most: int = MAX_BATCH,
    bounds: Bounds = UNIT,
) -> tf.Tensor:
    """Images of a request, float32 `[B,H,W,C]` within bounds, at least one.

    Args:
        images: What came.
        shape: `(H, W, C)`, `None` where any size will do.
        most: How many images there may be.
        bounds: The least and the largest value of a pixel.

    Returns:
        The images. They are an `InvalidArgumentError` if they are anything else.
    """
    low, high = bounds
    images = checked_batch("images", images, shape, most)
    # NaN compares false, so it fails here too.
    inside = tf.reduce_all((images >= low) & (images <= high))
    lowest, highest = tf.reduce_min(images), tf.reduce_max(images)
    text = f"images must lie in [{low:g}, {high:g}] and hold no NaN, got values from"
    return checked(images, (inside, [text, lowest, "to", highest]))


def checked_batch(
    name: str,
    tensor: tf.Tensor,
    shape: Sequence[int | None] = (),
    most: int = MAX_BATCH,
) -> tf.Tensor:
    """A tensor `[B, *shape]` with 1 to `most` rows, or an `InvalidArgumentError`.

    Where a size is free, the tensor has at most `most * FREE_NUMBERS` numbers.
    """
    tensor = tf.ensure_shape(tensor, [None, *shape])
    size = tf.size(tensor, tf.int64)
    text = f"{name} must hold at least one image and at most {most}, got shape"
    good = (size > 0) & (tf.shape(tensor)[0] <= most)
    checks: list[Check] = [(good, [text, tf.shape(tensor)])]
    if None in shape:
        numbers = most * FREE_NUMBERS
        text = f"{name} must hold at most {numbers} numbers, got"
        checks.append((size <= numbers, [text, size]))
    return checked(tensor, *checks)


def checked_changes(name: str, tensor: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Perturbations of checked images, none too large, or an `InvalidArgumentError`."""
    tensor = tf.ensure_shape(tensor, [None, *images.shape[1:]])
    own, theirs = tf.shape(tensor), tf.shape(images)
    # NaN compares false, so it fails here too.
    small = tf.reduce_all(tf.abs(tensor) <= MAX_CHANGE)
    return checked(
        tensor,
        (
            tf.reduce_all(own == theirs),
            [f"{name} must have the shape of images, got", own, "and", theirs],
        ),
        (small, [f"{name} must be numbers between -{MAX_CHANGE:g} and {MAX_CHANGE:g}"]),
    )


def checked_numbers(
    name: str, numbers: tf.Tensor, images: tf.Tensor, least: int, most: int
) -> tf.Tensor:
    """An int32 for each image in `[least, most]`, or an `InvalidArgumentError`."""
    numbers = tf.ensure_shape(numbers, [None])
    count, batch = tf.size(numbers), tf.shape(images)[0]
    text = f"{name} must hold one number for each image, got"
    inside = tf.reduce_all((numbers >= least) & (numbers <= most))
    return checked(
        numbers,
        (count == batch, [text, count, "for", batch]),
        (inside, [f"{name} must lie in [{least}, {most}], got", numbers]),
    )


def checked(tensor: tf.Tensor, *checks: Check) -> tf.Tensor:
    """A tensor that nothing uses before checks of the request have passed.

    Args:
        tensor: Any tensor.
        *checks: Each a condition and what the error says where it does not hold.

    Returns:
        The same tensor, or an `InvalidArgumentError`.

    Example:
        >>> int(checked(tf.constant(2), (True, ["it must be even, got", 2])))
        2
    """
    assertions = [tf.debugging.Assert(condition, data) for condition, data in checks]
    with tf.control_dependencies(assertions):
        return tf.identity(tensor)
