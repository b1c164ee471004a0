"""Where in frequency an image, a perturbation and a network's accuracy lie.

The first part of "Dissecting Local Properties of Adversarial Examples": images are
filtered at a threshold, or swap what lies above it, and go to a network; spectra are
averaged over images. Each channel is transformed by itself.

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

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.core.classifier import as_classifier
from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.images import check_batch, check_classes, check_pixels
from tfrobust.core.vectors import largest_entry
from tfrobust.settings import require, require_positive, require_steps

# Open ends of a band: below the mean's radius of 0, and above all radii.
_BELOW, _ABOVE = -1.0, 2.0

_IMAGES = tf.TensorSpec([None, None, None, None])
_NUMBER = tf.TensorSpec([])

# The amplitude, at every frequency, of one level of 8 bits in a single pixel.
_OFFSET = 1.0 / 255.0


@dataclasses.dataclass(frozen=True, eq=False)
class AccuracyCurve:
    """Which of N images a network got right at each of S scales.

    Attributes:
        scales: S numbers in [0, sqrt(2)].
        correct: bool `[S,N]`.

    Raises:
        ValueError: If `correct` does not have a row for each scale.

    Reference: Dissect, figures 1 and 6.

    Example:
        >>> curve = AccuracyCurve((0.5, 1.0), [[True, False], [True, True]])
        >>> [point.value for point in curve.accuracy]
        [0.5, 1.0]
        >>> curve.among([False, True]).accuracy[0].value
        0.0
    """

    scales: tuple[float, ...]
    correct: np.ndarray

    def __post_init__(self) -> None:
        """Check the arrays and bring them to their types."""
        scales = tuple(float(scale) for scale in self.scales)
        correct = np.asarray(self.correct, bool)
        if correct.ndim != 2 or len(correct) != len(scales):
            raise ValueError(
                f"`correct` must have shape [S, N] with S={len(scales)}, as `scales` "
                f"says. Received: shape={correct.shape}"
            )
        object.__setattr__(self, "scales", scales)
        object.__setattr__(self, "correct", correct)

    @property
    def accuracy(self) -> tuple[Estimate, ...]:
        """The share of correct answers at each scale; NaN of no images."""
        return tuple(mean(row) for row in self.correct)

    def among(self, chosen: Any) -> AccuracyCurve:
        """The same of some of the images, say those that an attack succeeded on.

        Args:
            chosen: bool `[N]`. Where none is chosen, the accuracy is NaN.
        """
        chosen = np.asarray(chosen)
        if chosen.dtype != bool or chosen.shape != self.correct.shape[1:]:
            raise ValueError(
                f"`chosen` must be bool of shape {self.correct.shape[1:]}. "
                f"Received: {chosen.dtype} of shape {chosen.shape}"
            )
        return AccuracyCurve(self.scales, self.correct[:, chosen])

    def points(self) -> tuple[list[float], list[float], list[float]]:
        """Scales, accuracy and its standard error, as `viz` takes a curve."""
        found = self.accuracy
        values = [point.value for point in found]
        return list(self.scales), values, [point.standard_error for point in found]


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

    Reference: Dissect, figure 1.

    Example:
        >>> images = tf.reshape(tf.constant([0.0, 1.0, 0.5, 0.5]), [1, 2, 2, 1])
        >>> low_pass(images, 0.0).numpy().ravel().tolist()
        [0.5, 0.5, 0.5, 0.5]
    """
    return _band(_checked("images", images), _BELOW, _checked_scale("scale", scale))


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

    Reference: Dissect, figure 1.

    Example:
        >>> images = tf.reshape(tf.constant([0.0, 1.0, 0.5, 0.5]), [1, 2, 2, 1])
        >>> high_pass(images, 0.0).numpy().ravel().tolist()
        [-0.5, 0.5, 0.0, 0.0]
    """
    return _band(_checked("images", images), _checked_scale("scale", scale), _ABOVE)


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
    images = _checked("images", images)
    start, end = _checked_scale("low", low), _checked_scale("high", high)
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

    Reference: Dissect, figure 6.

    Example:
        >>> images, others = tf.fill([1, 2, 2, 1], 0.25), tf.fill([1, 2, 2, 1], 0.75)
        >>> float(swap_high(images, others, 1.0)[0, 0, 0, 0])
        0.25
    """
    images, others = _checked("images", images), _checked("others", others)
    _check_same("others", others, images)
    return _swapped(images, others, _checked_scale("scale", scale))


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
    perturbations = _checked("perturbations", perturbations)
    return _share(perturbations, _checked_scale("scale", scale))


def log_amplitude(
    images: Any,
    *,
    offset: float = _OFFSET,
    per_channel: bool = False,
    batch_size: int = 500,
) -> np.ndarray:
    """Mean over images of `log(|F(x)| + offset)`, the zero frequency in the centre.

    F is the plain sum over pixels, without a factor, and the logarithm natural. The
    offset keeps the logarithm of nothing finite. Its default, 1/255, is the amplitude
    of a single pixel that changed by one level of 8 bits: what is smaller than that
    does not count as a difference. Where images come in units of levels and the offset
    is 1, everything is higher by log(255) and looks the same.

    Args:
        images: Floating `[N,H,W,C]`, H and W at least 2, N at least 1.
        offset: Above 0.
        per_channel: Whether to keep channels apart instead of averaging over them.
        batch_size: Images at a time.

    Returns:
        float32 `[H,W]`, or `[H,W,C]` of each channel; its frequencies are those of
        `frequency_radius`.

    Raises:
        ValueError: If images are of a wrong shape or type, too small, not finite or
            none, or a setting is out of range.

    Reference: Dissect, figure 2.

    Example:
        >>> found = log_amplitude(tf.ones([1, 2, 2, 3]), offset=1.0)
        >>> np.exp(found).round().tolist()
        [[1.0, 1.0], [1.0, 5.0]]
    """
    images = _checked("images", images)
    require_positive("offset", offset)
    require_steps("batch_size", batch_size)
    if not len(images):
        raise ValueError("`images` must hold at least one image. Received: none")
    total = np.zeros(images.shape[1:])
    for start in range(0, len(images), batch_size):
        total += _log_amplitudes(images[start : start + batch_size], offset).numpy()
    found = total / len(images)
    found = found if per_channel else found.mean(axis=-1)
    return found.astype(np.float32)


def log_amplitude_difference(images: Any, others: Any, **settings: Any) -> np.ndarray:
    """By how much one set's mean log-amplitude exceeds another's.

    `log_amplitude(images) - log_amplitude(others)`: 0 where they are alike, log(2)
    where amplitudes far above the offset are twice as large.

    Args:
        images: As for `log_amplitude`; adversarial, say.
        others: The same with the height, width and channels of `images`; natural, say.
            Their number may differ.
        **settings: As for `log_amplitude`.

    Returns:
        float32 `[H,W]` or `[H,W,C]`.

    Raises:
        ValueError: If the images differ in size, and as for `log_amplitude`.

    Reference: Dissect, figure 2.

    Example:
        >>> ones = tf.ones([1, 2, 2, 1])
        >>> found = log_amplitude_difference(2.0 * ones, ones, offset=1e-3)
        >>> (found / np.log(2.0)).round(2).tolist()
        [[0.0, 0.0], [0.0, 1.0]]
    """
    images, others = _checked("images", images), _checked("others", others)
    _check_same("others", others, images, first=1)
    return log_amplitude(images, **settings) - log_amplitude(others, **settings)


def filtered_accuracy(
    model: Any,
    images: Any,
    labels: Any,
    scales: Sequence[float],
    kind: str = "low",
    batch_size: int = 100,
    clip: bool = False,
) -> AccuracyCurve:
    """How well a network recognises images of which only a part is left.

    At the scale sqrt(2) the low-pass leaves the accuracy on whole images.

    Filtered images are shown as they are by default, also where they leave [0, 1]:
    clipping would bring back frequencies that the filter took, and would cut off half
    of a high-pass, whose mean is 0. `clip` shows what a picture file could hold.

    Args:
        model: As for an attack's call: a Keras model, a loaded SavedModel, or any
            callable from images to logits `[B,K]`.
        images: Floating `[N,H,W,C]` in [0, 1], natural or adversarial, H and W at least
            2. Of no images the accuracy is NaN.
        labels: Integer `[N]`.
        scales: Numbers in [0, sqrt(2)], at least one.
        kind: `"low"` shows what lies up to the scale, `"high"` what lies above.
        batch_size: Images at a time.
        clip: Whether to clip filtered images to [0, 1].

    Returns:
        The curve. Logits that are not finite count as a wrong answer.

    Raises:
        ValueError: If images or labels are of a wrong shape, type or range, or a
            setting is out of range.

    Reference: Dissect, figure 1.

    Example:
        >>> def model(images):  # are there stripes?
        ...     contrast = tf.math.reduce_std(images, axis=[1, 2, 3])
        ...     return tf.stack([0.1 - contrast, contrast - 0.1], axis=1)
        >>> stripes = tf.reshape(tf.constant([0.0, 1.0, 0.0, 1.0]), [1, 2, 2, 1])
        >>> curve = filtered_accuracy(model, stripes, [1], [0.0, 0.5, 1.0])
        >>> [point.value for point in curve.accuracy]
        [0.0, 0.0, 1.0]
    """
    images = _checked_pixels("images", images)
    _check_kind(kind)

    def shown(scale: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        ends = (_BELOW, scale) if kind == "low" else (scale, _ABOVE)
        return _band(batch, *ends)

    return _accuracy(model, shown, (images,), labels, scales, batch_size, clip)


def swapped_accuracy(
    model: Any,
    natural: Any,
    adversarial: Any,
    labels: Any,
    scales: Sequence[float],
    kind: str = "high",
    batch_size: int = 100,
    clip: bool = False,
) -> AccuracyCurve:
    """How well a network recognises images with a part taken from adversarial ones.

    With `kind="high"` what lies above the scale is adversarial, so that the curve ends,
    at sqrt(2), at the accuracy on natural images; with `"low"` what lies up to the
    scale is, and it ends at that on adversarial ones.

    Args:
        model: As for `filtered_accuracy`.
        natural: Floating `[N,H,W,C]` in [0, 1], H and W at least 2.
        adversarial: The same images after an attack.
        labels: Integer `[N]`.
        scales: As for `filtered_accuracy`.
        kind: Which part comes from the adversarial images, `"high"` or `"low"`.
        batch_size: As for `filtered_accuracy`.
        clip: As for `filtered_accuracy`.

    Returns:
        The curve. Logits that are not finite count as a wrong answer.

    Raises:
        ValueError: If the two differ in shape, and as for `filtered_accuracy`.

    Reference: Dissect, figure 6.

    Example:
        >>> def model(images):  # are there stripes?
        ...     contrast = tf.math.reduce_std(images, axis=[1, 2, 3])
        ...     return tf.stack([0.1 - contrast, contrast - 0.1], axis=1)
        >>> stripes = tf.reshape(tf.constant([0.0, 1.0, 0.0, 1.0]), [1, 2, 2, 1])
        >>> grey = tf.fill([1, 2, 2, 1], 0.5)
        >>> curve = swapped_accuracy(model, stripes, grey, [1], [0.5, 1.0])
        >>> [point.value for point in curve.accuracy]
        [0.0, 1.0]
    """
    natural = _checked_pixels("natural", natural)
    adversarial = _checked_pixels("adversarial", adversarial)
    _check_same("adversarial", adversarial, natural, than="natural")
    _check_kind(kind)
    # In the order of the spectrum: up to the scale, above it.
    parts = (natural, adversarial) if kind == "high" else (adversarial, natural)

    def shown(scale: tf.Tensor, below: tf.Tensor, above: tf.Tensor) -> tf.Tensor:
        return _swapped(below, above, scale)

    return _accuracy(model, shown, parts, labels, scales, batch_size, clip)


def _accuracy(
    model: Any,
    shown: Callable[..., tf.Tensor],
    parts: tuple[tf.Tensor, ...],
    labels: Any,
    scales: Sequence[float],
    batch_size: int,
    clip: bool,
) -> AccuracyCurve:
    """Answers to what `shown(scale, *batches)` makes of the images, by one graph."""
    labels = check_classes("labels", labels, parts[0])
    require_steps("batch_size", batch_size)
    steps = [_checked_scale("scales", scale) for scale in scales]
    if not steps:
        raise ValueError("`scales` must hold at least one number. Received: none")
    classifier = as_classifier(model)

    def right(scale: tf.Tensor, truth: tf.Tensor, *batches: tf.Tensor) -> tf.Tensor:
        seen = shown(scale, *batches)
        seen = tf.ensure_shape(seen, batches[0].shape)
        logits = classifier(tf.clip_by_value(seen, 0.0, 1.0) if clip else seen)
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
        return finite & (tf.argmax(logits, axis=1, output_type=truth.dtype) == truth)

    specs = [tf.TensorSpec([None, *part.shape[1:]]) for part in parts]
    truth = tf.TensorSpec([None], labels.dtype)
    # A `tf.function` would warn of retracing from one call to the next.
    graph = tf.function(right, autograph=False)
    graph = graph.get_concrete_function(_NUMBER, truth, *specs)
    correct = np.zeros((len(steps), len(labels)), bool)
    for start in range(0, len(labels), batch_size):
        rows = slice(start, start + batch_size)
        for index, scale in enumerate(steps):
            batches = (part[rows] for part in parts)
            correct[index, rows] = graph(scale, labels[rows], *batches).numpy()
    return AccuracyCurve(tuple(scales), correct)


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


def _swapped(images: tf.Tensor, others: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    # One transform for two, and exact where the two are equal.
    return others + _band(images - others, _BELOW, scale)


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


@tf.function(autograph=False, input_signature=[_IMAGES, _NUMBER])
def _log_amplitudes(images: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """The sum over images, `[H,W,C]`, centred."""
    planes = tf.cast(tf.transpose(images, [0, 3, 1, 2]), tf.complex64)
    logs = tf.math.log(tf.abs(tf.signal.fft2d(planes)) + offset)
    centred = tf.signal.fftshift(tf.reduce_sum(logs, axis=0), axes=[1, 2])
    return tf.transpose(centred, [1, 2, 0])


def _checked(name: str, value: Any) -> tf.Tensor:
    images = check_batch(name, value)
    if any(size is not None and size < 2 for size in images.shape[1:3]):
        raise ValueError(
            f"`{name}` must be at least 2 pixels high and wide to have frequencies to "
            f"tell apart. Received: shape={images.shape}"
        )
    return images


def _checked_pixels(name: str, value: Any) -> tf.Tensor:
    images = _checked(name, value)
    check_pixels(name, images)
    return images


def _check_same(
    name: str, value: tf.Tensor, like: tf.Tensor, first: int = 0, than: str = "images"
) -> None:
    if not value.shape[first:].is_compatible_with(like.shape[first:]):
        raise ValueError(
            f"`{name}` must have the {'size' if first else 'shape'} of `{than}`, "
            f"{like.shape[first:]}. Received: shape={value.shape}"
        )


def _check_kind(kind: str) -> None:
    require(kind in ("low", "high"), "kind", kind, '"low" or "high"')


def _checked_scale(name: str, value: Any) -> tf.Tensor:
    """A scale as a float32 scalar; its range is checked where its value is known."""
    scale = tf.convert_to_tensor(value)
    if not (scale.dtype.is_floating or scale.dtype.is_integer) or scale.shape.rank:
        raise ValueError(
            f"`{name}` must be a number in [0, sqrt(2)]. Received: {name}={value!r}"
        )
    known = tf.get_static_value(scale)
    scale = tf.cast(scale, tf.float32)
    if known is not None and not 0.0 <= np.float32(known) <= np.float32(math.sqrt(2)):
        raise ValueError(
            f"`{name}` must lie in [0, sqrt(2)]. Received: {name}={float(known):g}"
        )
    return scale
