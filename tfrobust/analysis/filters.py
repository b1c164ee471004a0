"""Parts of images by frequency: what lies below, above or between thresholds.

Each channel is transformed by itself.

The scale of a frequency is its radius in the centred two-dimensional spectrum over half
the size of the image, `sqrt((2 k_y / H)^2 + (2 k_x / W)^2)`: 0 is the mean, 1 the
finest stripes along an axis, sqrt(2) the checkerboard. An image that is not square has
each axis measured by its own half size, so 1 is again the finest stripes along either.
Odd sizes reach `(N - 1) / N` along an axis.

A threshold belongs to the part below it: a low-pass keeps `radius <= scale`, a
high-pass the rest. So the scale 0 keeps the mean and sqrt(2) everything. Radii are
computed in float64 and compared in float32, so that one that is equal to the threshold
on paper is kept.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.core.images import check_batch
from tfrobust.core.vectors import largest_entry
from tfrobust.settings import require, require_steps

# Open ends of a band: below the mean's radius of 0, and above all radii.
_BELOW, _ABOVE = -1.0, 2.0

_IMAGES = tf.TensorSpec([None, None, None, None])
_NUMBER = tf.TensorSpec([])


def frequency_radius(height: int, width: int) -> np.ndarray:
    """The scale of every frequency of the centred spectrum.

    Args:
        height: H, at least 1.
        width: W, at least 1.

    Returns:
        float32 `[H,W]` in [0, sqrt(2)], with 0, the mean, at `[H // 2, W // 2]`.

    Raises:
        ValueError: If a size is not an integer of at least 1.

    Example:
        >>> frequency_radius(1, 4).tolist()
        [[1.0, 0.5, 0.0, 0.5]]
    """
    require_steps("height", height)
    require_steps("width", width)
    return np.fft.fftshift(_radii(tf.constant(height), tf.constant(width)).numpy())


def low_pass(images: Any, scale: Any) -> tf.Tensor:
    """Images without what lies above a scale, `radius <= scale`.

    A projection, linear and its own adjoint: gradients are filtered likewise. Values
    may leave [0, 1].

    Args:
        images: Floating `[B,H,W,C]`, H and W at least 2.
        scale: Number or scalar tensor in [0, sqrt(2)]; another value needs no other
            graph.

    Returns:
        float32 `[B,H,W,C]`.

    Raises:
        ValueError: If images are of a wrong shape or type or too small, or the scale is
            out of range; eagerly also if a value is not finite.

    Reference: Dissect, figure 1(a, b).

    Example:
        >>> images = tf.reshape(tf.constant([0.0, 1.0, 0.5, 0.5]), [1, 2, 2, 1])
        >>> low_pass(images, 0.0).numpy().ravel().tolist()
        [0.5, 0.5, 0.5, 0.5]
    """
    return _band(
        checked_images("images", images), _BELOW, checked_scale("scale", scale)
    )


def high_pass(images: Any, scale: Any) -> tf.Tensor:
    """What lies above a scale, `radius > scale`: the rest of `low_pass`.

    At the scale sqrt(2) that is exactly nothing. Its mean is 0, also at the scale 0.

    Args:
        images: As for `low_pass`.
        scale: As for `low_pass`.

    Returns:
        float32 `[B,H,W,C]`, around 0.

    Raises:
        ValueError: As for `low_pass`.

    Reference: Dissect, figure 6.

    Example:
        >>> images = tf.reshape(tf.constant([0.0, 1.0, 0.5, 0.5]), [1, 2, 2, 1])
        >>> high_pass(images, 0.0).numpy().ravel().tolist()
        [-0.5, 0.5, 0.0, 0.0]
    """
    return _band(
        checked_images("images", images), checked_scale("scale", scale), _ABOVE
    )


def band_pass(images: Any, low: Any, high: Any) -> tf.Tensor:
    """What lies above one scale and not above another, `low < radius <= high`.

    `low_pass(x, a) + band_pass(x, a, b) + high_pass(x, b)` is x to float32 rounding,
    and bands that share a threshold have no frequency in common. The mean belongs to no
    band, only to the low-pass.

    Args:
        images: As for `low_pass`.
        low: Number or scalar tensor in [0, sqrt(2)].
        high: The same, at least `low`.

    Returns:
        float32 `[B,H,W,C]`, around 0; exactly 0 where the scales are equal.

    Raises:
        ValueError: If `high` is below `low`, and as for `low_pass`.

    Example:
        >>> images = tf.random.stateless_uniform([1, 8, 8, 3], seed=[0, 0])
        >>> parts = low_pass(images, 0.5), band_pass(images, 0.5, 1.0)
        >>> bool(tf.reduce_all(abs(sum(parts) - low_pass(images, 1.0)) < 1e-6))
        True
    """
    images = checked_images("images", images)
    start, end = checked_scale("low", low), checked_scale("high", high)
    ends = tf.get_static_value(start), tf.get_static_value(end)
    if None not in ends:
        require(ends[0] <= ends[1], "high", high, f"at least `low`, {ends[0]:g}")
    return _band(images, start, end)


def swap_high(images: Any, others: Any, scale: Any) -> tf.Tensor:
    """Images with what lies above a scale taken from others.

    `low_pass(images, scale) + high_pass(others, scale)`: at the scale sqrt(2) the
    images, at 0 the others with the mean of the images.

    Args:
        images: As for `low_pass`.
        others: Floating, of the shape of `images`; natural for adversarial, say.
        scale: As for `low_pass`.

    Returns:
        float32 `[B,H,W,C]`. Where the two are equal it is exactly both.

    Raises:
        ValueError: If the shapes differ, and as for `low_pass`.

    Reference: Dissect, figure 1(c, d).

    Example:
        >>> images, others = tf.fill([1, 2, 2, 1], 0.25), tf.fill([1, 2, 2, 1], 0.75)
        >>> float(swap_high(images, others, 1.0)[0, 0, 0, 0])
        0.25
    """
    images, others = checked_images("images", images), checked_images("others", others)
    check_same("others", others, images)
    # One transform for two, and exact where the two are equal.
    limit = checked_scale("scale", scale)
    return others + _band(images - others, _BELOW, limit)


def high_frequency_share(perturbations: Any, scale: Any) -> tf.Tensor:
    """How much of a perturbation's energy lies above a scale.

    The sum of squares of its high-pass over its own. By Parseval's theorem that is a
    share of the spectrum. Noise that is independent from pixel to pixel has the share
    of the frequencies above the scale, `(frequency_radius(H, W) > scale).mean()`.

    Args:
        perturbations: As the images of `low_pass`, on any scale of their own.
        scale: As for `low_pass`.

    Returns:
        float32 `[B]` in [0, 1]; NaN, with a gradient of 0, where a perturbation is 0.

    Raises:
        ValueError: As for `low_pass`.

    Example:
        >>> stripes = tf.reshape(tf.constant([1.0, -1.0, 1.0, -1.0]), [1, 2, 2, 1])
        >>> high_frequency_share(stripes, 0.5).numpy().tolist()
        [1.0]
    """
    perturbations = checked_images("perturbations", perturbations)
    return _share(perturbations, checked_scale("scale", scale))


def checked_images(name: str, value: Any) -> tf.Tensor:
    """Images as float32 `[B,H,W,C]` of at least 2 by 2 pixels; `ValueError` if not.

    Args:
        name: Of the argument.
        value: What was given for it.

    Example:
        >>> checked_images("images", tf.zeros([1, 2, 2, 1])).shape
        TensorShape([1, 2, 2, 1])
    """
    images = check_batch(name, value)
    check_size(name, images)
    return images


def check_size(name: str, images: tf.Tensor) -> None:
    """Raises `ValueError` where images `[B,H,W,C]` are less than 2 by 2 pixels.

    Example:
        >>> check_size("images", tf.zeros([1, 2, 2, 1]))
    """
    if any(size is not None and size < 2 for size in images.shape[1:3]):
        raise ValueError(
            f"`{name}` must be at least 2 pixels high and wide to have frequencies to "
            f"tell apart. Received: shape={images.shape}"
        )


def check_same(
    name: str, value: tf.Tensor, like: tf.Tensor, first: int = 0, than: str = "images"
) -> None:
    """Raises `ValueError` where two arrays differ in shape.

    Args:
        name: Of the argument.
        value: What was given for it.
        like: What it must agree with.
        first: The first axis to compare.
        than: Name of `like`.

    Example:
        >>> check_same("others", tf.zeros([3, 2]), tf.zeros([1, 2]), first=1)
    """
    if not value.shape[first:].is_compatible_with(like.shape[first:]):
        raise ValueError(
            f"`{name}` must have the {'size' if first else 'shape'} of `{than}`, "
            f"{like.shape[first:]}. Received: shape={value.shape}"
        )


def checked_scale(name: str, value: Any) -> tf.Tensor:
    """A scale as a float32 scalar; its range is checked where its value is known.

    Args:
        name: Of the argument.
        value: What was given for it.

    Raises:
        ValueError: If it is no number, or outside [0, sqrt(2)].

    Example:
        >>> float(checked_scale("scale", 1))
        1.0
    """
    scale = tf.convert_to_tensor(value)
    if not (scale.dtype.is_floating or scale.dtype.is_integer) or scale.shape.rank:
        raise ValueError(
            f"`{name}` must be a number in [0, sqrt(2)]. Received: {name}={value!r}"
        )
    value = tf.get_static_value(scale)
    scale = tf.cast(scale, tf.float32)
    if value is not None and not 0.0 <= np.float32(value) <= np.float32(math.sqrt(2)):
        raise ValueError(
            f"`{name}` must lie in [0, sqrt(2)]. Received: {name}={float(value):g}"
        )
    return scale


def _radii(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Scales in the order of a transform, the mean first, float32 `[H,W]`."""

    def along(size: tf.Tensor) -> tf.Tensor:
        steps = tf.range(size)
        waves = tf.minimum(steps, size - steps)
        return tf.cast(2 * waves, tf.float64) / tf.cast(size, tf.float64)

    squares = tf.square(along(height))[:, None] + tf.square(along(width))[None, :]
    return tf.cast(tf.sqrt(squares), tf.float32)


# One graph for all shapes and scales.
@tf.function(autograph=False, input_signature=[_IMAGES, _NUMBER, _NUMBER])
def _band_of(images: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """What of the spectrum lies at `low < radius <= high`."""
    size = tf.shape(images)[1:3]
    # Real images need half of their spectrum. The mask is the same at a frequency and
    # at its negative, so what is left is the spectrum of a real image again.
    radii = _radii(size[0], size[1])[:, : size[1] // 2 + 1]
    spectrum = tf.signal.rfft2d(tf.transpose(images, [0, 3, 1, 2]))
    kept = tf.where((radii > low) & (radii <= high), spectrum, 0.0)
    return tf.transpose(tf.signal.irfft2d(kept, size), [0, 2, 3, 1])


def _band(images: tf.Tensor, low: Any, high: Any) -> tf.Tensor:
    return tf.ensure_shape(_band_of(images, low, high), images.shape)


@tf.function(autograph=False, input_signature=[_IMAGES, _NUMBER])
def _share(perturbations: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    # The share is the same at any size; without this small squares would be 0.
    axes = [1, 2, 3]
    largest = tf.stop_gradient(largest_entry(perturbations))
    unit = tf.math.divide_no_nan(perturbations, largest)
    high = _band_of(unit, scale, _ABOVE)
    above = tf.reduce_sum(tf.square(high), axis=axes)
    total = above + tf.reduce_sum(tf.square(unit - high), axis=axes)
    share = above / tf.where(total > 0.0, total, 1.0)
    return tf.where(total > 0.0, share, math.nan)
