"""Small perturbations made visible, without knowing the image they were added to.

Appendix A of "Smooth Adversarial Examples" (Zhang, Avrithis, Furon and Amsaleg 2020):
an image is normalised by its local mean and its local standard deviation, both taken
over pixels that are near and alike. What is left is what the neighbourhood of a pixel
does not explain: texture, noise, or an adversarial perturbation. A clean image is
treated in the same way, so the two can be compared.

A perturbation by itself is not magnified. Taking away its local mean would remove the
smooth part, which is all there is to a smooth attack; show it on its own scale
instead, as `tfrobust.viz.worst_cases` does.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfrobust.core.images import check_batch, pixels_in
from tfrobust.core.loops import loop
from tfrobust.settings import require, require_positive, require_steps

# Of images in [0, 1]: SMO-R5. The 5 that the paper has for both standard deviations
# would leave a plain Gaussian filter (SMO-X2); for the same filter it has 0.2 in its
# section 5.4.
_RANGE_STD = 0.2


def bilateral_filter(
    images: Any,
    spatial_std: float = 5.0,
    range_std: float = _RANGE_STD,
    guide: Any = None,
    radius: int | None = None,
) -> tf.Tensor:
    """Means over the pixels that are near and alike (Tomasi and Manduchi 1998).

    Pixel j weighs `exp(-|p_j - p_i|^2 / (2 spatial_std^2))` times
    `exp(-|g_j - g_i|^2 / (2 range_std^2))` in the mean at pixel i, where p are places
    and g the colours of the guide: one weight for all channels, by the Euclidean
    distance of colours. Pixels outside the image weigh nothing.

    The window is walked through one offset at a time, so memory does not grow with it.
    The defaults are those of `magnify`; what the paper filters images with before it
    shows them to a network is half a pixel and 0.2 (`behind_filter`).

    Args:
        images: Floating `[B,H,W,C]`, what is averaged.
        spatial_std: Standard deviation in pixels.
        range_std: Standard deviation in units of the guide; `math.inf` leaves a plain
            Gaussian filter.
        guide: Floating `[B,H,W,G]`, what the weights are taken from; the images
            themselves if `None`.
        radius: Half width of the square window, at least 1. If `None`, three standard
            deviations, rounded up: what is farther weighs 1 % of the centre or less.

    Returns:
        float32 `[B,H,W,C]`.

    Raises:
        ValueError: If a shape, dtype or setting is wrong; eagerly also if a value is
            not finite.

    Example:
        >>> step = tf.reshape(tf.constant([0.0, 0.02, 1.0, 0.98]), [1, 1, 4, 1])
        >>> smooth = bilateral_filter(step, spatial_std=10.0, range_std=0.1)
        >>> [round(float(value), 2) for value in tf.reshape(smooth, [-1])]
        [0.01, 0.01, 0.99, 0.99]
    """
    images = check_batch("images", images)
    guide = images if guide is None else check_batch("guide", guide)
    if not guide.shape[:3].is_compatible_with(images.shape[:3]):
        raise ValueError(
            "`guide` must have the batch, height and width of `images`, "
            f"{images.shape[:3]}. Received: shape={guide.shape}"
        )
    require_positive("spatial_std", spatial_std)
    require(range_std > 0, "range_std", range_std, "above 0")
    if radius is None:
        radius = math.ceil(3.0 * spatial_std)
    require_steps("radius", radius)
    difference = _mean_difference(images, guide, spatial_std, range_std, radius)
    return tf.ensure_shape(images + difference, images.shape)


def magnify(
    images: Any,
    beta: float = 0.8,
    spatial_std: float = 5.0,
    range_std: float = _RANGE_STD,
    radius: int | None = None,
    *,
    bounds: Any = None,
) -> tf.Tensor:
    """The normalised image of equation 22, in the paper's appendix A.

    `n(x) = (x - mu) / (beta sigma + (1 - beta) sigma_all)`, for each channel: mu is the
    bilateral filter of x, sigma the root of the bilateral filter of `(x - mu)^2` guided
    by x, and sigma_all the standard deviation of x over all pixels of the image, which
    keeps the noise of flat regions in proportion. Where x equals mu, as all over a
    constant image, n is 0.

    The paper prints sigma as a power of -1/2 of the filtered squares; a standard
    deviation is the power of +1/2, and so has the authors' code (SMO-X1).

    Defaults are those of the authors' code (SMO-R5), 5 pixels and 0.2 in units of
    images in [0, 1], but for the window, which reaches 15 pixels where theirs reaches
    12. The paper has 5 for both, which on images in [0, 1] is no bound on the range at
    all (SMO-S11, SMO-X2).

    Pixels that differ by much more than the range are on two sides of an edge, and a
    perturbation of that size makes edges of its own, which stay out of the means. A
    narrow range, such as `5 / 255`, shows single levels beside an edge.

    Args:
        images: `[B,H,W,C]` within the bounds, benign or adversarial.
        beta: In [0, 1], the weight of the local standard deviation.
        spatial_std: As for `bilateral_filter`.
        range_std: As for `bilateral_filter`, in units of images in [0, 1].
        radius: As for `bilateral_filter`.
        bounds: The range of the pixels; `(0, 1)` by default.

    Returns:
        float32 `[B,H,W,C]` around 0, in local standard deviations; see `to_display`.

    Raises:
        ValueError: If `beta` is outside [0, 1], and as for `bilateral_filter`; eagerly
            also if pixels leave the bounds.

    Reference: Zhang et al. 2020, Smooth Adversarial Examples, equation 22.

    Example:
        >>> noise = tf.random.stateless_normal([1, 16, 16, 1], seed=[0, 0])
        >>> image = 0.5 + 0.001 * noise
        >>> bool(tf.math.reduce_std(magnify(image)) > 0.9)
        True
        >>> float(tf.reduce_max(tf.abs(magnify(tf.fill([1, 16, 16, 1], 0.3)))))
        0.0
    """
    images = pixels_in(images, bounds=bounds).images
    require(0 <= beta <= 1, "beta", beta, "in [0, 1]")
    mean = bilateral_filter(images, spatial_std, range_std, radius=radius)
    detail = images - mean
    variance = bilateral_filter(
        tf.square(detail), spatial_std, range_std, guide=images, radius=radius
    )
    # A mean of squares, which rounding may take below 0.
    local = tf.sqrt(tf.maximum(variance, 0.0))
    overall = tf.math.reduce_std(images, axis=[1, 2], keepdims=True)
    return tf.math.divide_no_nan(detail, beta * local + (1.0 - beta) * overall)


def to_display(normalized: Any, limit: float = 1.5) -> tf.Tensor:
    """A normalised image as one that can be shown: 0 becomes mid-grey.

    Linear from `[-limit, limit]` to [0, 1], clipped. The limit is the same for every
    image, not fitted to each, so that of two images the more perturbed looks it. Of the
    first 100 test images of CIFAR-10 and MNIST, magnified at the defaults, 99 % of the
    values lie within 1.5; at a range of `5 / 255` they do within 0.5.

    Args:
        normalized: Floating `[B,H,W,C]`, from `magnify`.
        limit: What is shown as black or white, above 0.

    Returns:
        float32 `[B,H,W,C]` in [0, 1].

    Raises:
        ValueError: If a shape, dtype or the limit is wrong; eagerly also if a value is
            not finite.

    Example:
        >>> values = tf.reshape(tf.constant([-9.0, 0.0, 1.0]), [1, 1, 3, 1])
        >>> to_display(values, limit=2.0).numpy().ravel().tolist()
        [0.0, 0.5, 0.75]
    """
    normalized = check_batch("normalized", normalized)
    require_positive("limit", limit)
    return tf.clip_by_value(0.5 + normalized / (2.0 * limit), 0.0, 1.0)


# One graph for all shapes and settings: eagerly, a thousand offsets take 5 times as
# long.
@tf.function(
    autograph=False,
    input_signature=[
        tf.TensorSpec([None, None, None, None]),
        tf.TensorSpec([None, None, None, None]),
        tf.TensorSpec([]),
        tf.TensorSpec([]),
        tf.TensorSpec([], tf.int32),
    ],
)
def _mean_difference(
    images: tf.Tensor,
    guide: tf.Tensor,
    spatial_std: tf.Tensor,
    range_std: tf.Tensor,
    radius: tf.Tensor,
) -> tf.Tensor:
    """Weighted mean of `x_j - x_i` at each pixel i, `[B,H,W,C]`.

    Differences, because the mean of equal pixels is then exact.
    """
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    down, right = tf.minimum(radius, height - 1), tf.minimum(radius, width - 1)
    # Made before the loop: within it XLA does not know a size for constant.
    rows, across = tf.range(height)[:, None], tf.range(width)[None, :]
    columns = 2 * right + 1

    def add(
        offset: tf.Tensor, total: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        row, column = offset // columns - down, offset % columns - right
        inside = _inside(rows + row, height) & _inside(across + column, width)
        distance = tf.cast(row * row + column * column, tf.float32)
        # Divided before it is squared: a narrow range neither over- nor underflows.
        change = (_shifted(guide, row, column) - guide) / range_std
        alike = tf.reduce_sum(tf.square(change), axis=-1, keepdims=True)
        weight = tf.exp(-0.5 * (distance / spatial_std**2 + alike))
        weight = tf.where(inside[None, :, :, None], weight, 0.0)
        total += weight * (_shifted(images, row, column) - images)
        return offset + 1, total, weights + weight

    state = (tf.constant(0), tf.zeros_like(images), tf.zeros_like(images[..., :1]))
    count = (2 * down + 1) * columns
    _, total, weights = loop(lambda offset, _total, _sum: offset < count, add, state)
    return total / weights  # the centre alone weighs 1


def _shifted(images: tf.Tensor, row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
    """The pixel at an offset from each one; beyond a border comes the other side."""
    return tf.roll(images, [-row, -column], axis=[1, 2])


def _inside(places: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Which places are in an image of that size."""
    return (places >= 0) & (places < size)
