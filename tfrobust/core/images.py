"""Checks of images, labels and targets.

Dtype and shape are checked always, values eagerly alone: in a graph there are none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrobust.core.pixels import (
    UNIT,
    Bounds,
    bounds_of,
    from_unit,
    to_unit,
)


def check_images(
    value: Any,
    name: str = "images",
    *,
    pixels: bool = False,
    any_rank: bool = False,
    sized: bool = False,
) -> tf.Tensor:
    """Images as float32; raises `ValueError` on another dtype or shape.

    Args:
        value: What was given for images.
        name: Of the argument.
        pixels: Whether to say of integers that pixels in [0, 1] are meant; the range is
            for `check_within`.
        any_rank: Whether `[B, ...]` of rank 2 or more will do, not only `[B, H, W, C]`.
        sized: Whether H, W and C must be known, none of them 0.

    Example:
        >>> check_images([[[[0.5]]]]).shape
        TensorShape([1, 1, 1, 1])
    """
    images = tf.convert_to_tensor(value)
    if not images.dtype.is_floating:
        kind = "floating, with pixels in [0, 1]" if pixels else "floating"
        raise ValueError(
            f"`{name}` must be {kind}. Received: dtype={images.dtype.name}"
        )
    rank, shape = images.shape.rank, "[B, H, W, C]"
    fits = rank == 4
    if any_rank:
        fits, shape = rank is not None and rank >= 2, "[B, ...] of rank 2 or more"
    if sized:
        fits = fits and None not in images.shape[1:]
        shape += " with H, W and C known"
    if not fits:
        raise ValueError(
            f"`{name}` must have shape {shape}. Received: shape={images.shape}"
        )
    if sized and 0 in images.shape[1:]:
        raise ValueError(
            f"`{name}` must have at least one pixel. Received: shape={images.shape}"
        )
    return tf.cast(images, tf.float32)


def check_finite(name: str, images: tf.Tensor) -> None:
    """Raises `ValueError` where eager values are not finite."""
    if tf.executing_eagerly() and not tf.reduce_all(tf.math.is_finite(images)):
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinity")


def check_batch(name: str, value: Any) -> tf.Tensor:
    """`value` as float32 `[B,H,W,C]`, eagerly of finite values; `ValueError` if not."""
    images = check_images(value, name)
    check_finite(name, images)
    return images


SCALE = (
    "`images` must be in the range of the model's pixels, [{low:g}, {high:g}], and not "
    "in [0, 1], or `bounds` must say otherwise"
)


class Pixels(NamedTuple):
    """Images as they were given, and the same in [0, 1].

    Attributes:
        given: float32, within the bounds.
        images: float32 in [0, 1].
        bounds: The range of the pixels.
    """

    given: tf.Tensor
    images: tf.Tensor
    bounds: Bounds

    def restored(self, images: tf.Tensor) -> tf.Tensor:
        """Images in [0, 1] within the bounds; exactly as given where unchanged."""
        if self.bounds == UNIT:
            return images
        scaled = from_unit(images, self.bounds)
        scaled = tf.clip_by_value(scaled, *self.bounds)
        return tf.where(images == self.images, self.given, scaled)


def pixels_in(
    value: Any,
    model: Any = None,
    bounds: Any = None,
    *,
    name: str = "images",
    any_rank: bool = False,
    checked: bool = True,
) -> Pixels:
    """Images for a model, checked, and the same in [0, 1].

    Args:
        value: What was given for images: floating, or integers where the bounds are
            those of bytes.
        model: What they are for, which may know the range of its pixels.
        bounds: What the caller says of the range, if anything.
        name: Of the argument.
        any_rank: As for `check_images`. Rows of numbers, of rank 2, are no images, and
            need not lie in [0, 1].
        checked: Whether to look at eager values.

    Raises:
        ValueError: If dtype or shape is wrong; eagerly also if a pixel is not within
            the bounds.

    Example:
        >>> pixels_in(tf.fill([1, 1, 1, 1], 51), bounds=(0, 255)).images.numpy().max()
        np.float32(0.2)
    """
    box = bounds_of(model, bounds)
    images = floating(value, box, name, any_rank=any_rank)
    if checked and tf.executing_eagerly():
        if any_rank and images.shape.rank == 2 and box == UNIT:
            check_finite(name, images)
        else:
            check_within(name, images, box)
        check_scale(name, images, box)
    return Pixels(images, to_unit(images, box), box)


def floating(
    value: Any, bounds: Bounds, name: str = "images", *, any_rank: bool = False
) -> tf.Tensor:
    """Images as float32, checked as by `check_images`; integers only of wide bounds.

    Example:
        >>> floating(tf.zeros([1, 1, 1, 1], tf.uint8), (0.0, 255.0)).dtype
        tf.float32
    """
    images = tf.convert_to_tensor(value)
    if images.dtype.is_integer and bounds[1] - bounds[0] > 1.0:
        images = tf.cast(images, tf.float32)
    return check_images(images, name, pixels=True, any_rank=any_rank)


def check_within(name: str, images: tf.Tensor, bounds: Bounds) -> None:
    """Raises `ValueError` where eager images leave the bounds, or are NaN."""
    low, high = bounds
    if tf.executing_eagerly() and not tf.reduce_all((images >= low) & (images <= high)):
        raise ValueError(
            f"{within_sentence(name, bounds)}. Received: values from "
            f"{tf.reduce_min(images):g} to {tf.reduce_max(images):g}"
        )


def within_sentence(name: str, bounds: Bounds) -> str:
    """The sentence about images that leave the bounds."""
    advice = ", or `bounds` must say where" if bounds == UNIT else ", their bounds"
    return f"`{name}` must lie in [{bounds[0]:g}, {bounds[1]:g}]{advice}"


def is_wide(bounds: Bounds) -> bool:
    """Whether images in [0, 1] are too dark to be meant for these bounds.

    Example:
        >>> is_wide((0.0, 255.0)), is_wide((-1.0, 1.0))
        (True, False)
    """
    return bounds[1] - bounds[0] > 16.0


def check_scale(name: str, images: tf.Tensor, bounds: Bounds) -> None:
    """Raises `ValueError` where eager images for bytes and the like are in [0, 1]."""
    if not is_wide(bounds):
        return
    largest = tf.reduce_max(images) if tf.size(images) else tf.constant(255.0)
    if largest <= 1.0 and tf.reduce_any(images != tf.round(images)):
        raise ValueError(
            f"{scale_sentence(name, bounds)}. Received: values from "
            f"{tf.reduce_min(images):g} to {largest:g}"
        )


def scale_sentence(name: str, bounds: Bounds) -> str:
    """The sentence about images in [0, 1] for a model of other pixels."""
    return SCALE.replace("images", name).format(low=bounds[0], high=bounds[1])


def check_classes(name: str, classes: Any, images: tf.Tensor) -> tf.Tensor:
    """Labels or targets as int32 `[B]`; raises `ValueError` if they are not.

    Args:
        name: Of the argument.
        classes: Integers `[B]` or `[B,1]`, also as floating numbers; or one-hot rows
            `[B,K]`.
        images: `[B,...]`.

    Example:
        >>> check_classes("labels", [[0.0, 1.0]], tf.zeros([1, 2, 2, 1])).numpy()
        array([1], dtype=int32)
    """
    classes = tf.convert_to_tensor(classes)
    if classes.dtype == tf.bool:
        classes = tf.cast(classes, tf.int32)
    if classes.shape.rank == 2 and classes.shape[1] == 1:
        classes = tf.squeeze(classes, axis=1)
    elif classes.shape.rank == 2:
        classes = _from_one_hot(name, classes)
    if classes.dtype.is_floating:
        whole = tf.round(classes)
        if tf.executing_eagerly() and tf.reduce_any(classes != whole):
            raise ValueError(
                f"`{name}` must be integers. Received: dtype={classes.dtype.name} "
                "with fractions"
            )
        classes = tf.cast(whole, tf.int32)
    if not classes.dtype.is_integer:
        raise ValueError(
            f"`{name}` must be integers. Received: dtype={classes.dtype.name}"
        )
    if not classes.shape.is_compatible_with(images.shape[:1]):
        count = images.shape[0]
        each = "image" if count is None else f"of the {count} images"
        raise ValueError(
            f"`{name}` must have shape [B], one class for each {each}. "
            f"Received: shape={classes.shape}"
        )
    return tf.cast(classes, tf.int32)


def _from_one_hot(name: str, rows: tf.Tensor) -> tf.Tensor:
    """The class of each one-hot row `[B,K]`, int32 `[B]`."""
    numbers = tf.cast(rows, tf.float32)
    ones = tf.reduce_all((numbers == 0.0) | (numbers == 1.0))
    if tf.executing_eagerly() and not (
        ones and tf.reduce_all(tf.reduce_sum(numbers, axis=1) == 1.0)
    ):
        raise ValueError(
            f"`{name}` of shape [B, K] must be one-hot, a single 1 in each row. "
            f"Received: shape={rows.shape} with other rows"
        )
    return tf.argmax(numbers, axis=1, output_type=tf.int32)


def check_width(name: str, classes: Any, count: int) -> None:
    """Raises `ValueError` where one-hot rows are not as wide as a model's answers.

    Args:
        name: Of the argument.
        classes: As for `check_classes`.
        count: How many classes the model tells apart.
    """
    shape = tf.TensorShape(getattr(classes, "shape", np.shape(classes)))
    if shape.rank == 2 and shape[1] not in (None, 1, count):
        raise ValueError(
            f"`{name}` must have a column for each of the {count} classes of the "
            f"model. Received: shape={tuple(shape)}"
        )


def check_range(name: str, classes: tf.Tensor, count: int) -> None:
    """Raises `ValueError` where eager classes leave [0, count)."""
    if not tf.executing_eagerly():
        return
    if tf.reduce_any((classes < 0) | (classes >= count)):
        raise ValueError(
            f"`{name}` must lie in [0, {count}). Received: values from "
            f"{tf.reduce_min(classes)} to {tf.reduce_max(classes)}"
        )
