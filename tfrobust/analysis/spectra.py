"""Amplitude spectra of images, averaged over sets of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.analysis.filters import check_same, checked_images
from tfrobust.core.examples import gather
from tfrobust.settings import require_positive, require_steps

# The amplitude, at every frequency, of one level of 8 bits in a single pixel.
_OFFSET = 1.0 / 255.0


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
        images: Floating `[N,H,W,C]` in any form, H and W at least 2, N at least 1.
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
        >>> spectrum = log_amplitude(tf.ones([1, 2, 2, 3]), offset=1.0)
        >>> np.exp(spectrum).round().tolist()
        [[1.0, 1.0], [1.0, 5.0]]
    """
    images = checked_images("images", gather(images).images)
    require_positive("offset", offset)
    require_steps("batch_size", batch_size)
    if not len(images):
        raise ValueError("`images` must hold at least one image. Received: none")
    total = np.zeros(images.shape[1:])
    for start in range(0, len(images), batch_size):
        total += _log_amplitudes(images[start : start + batch_size], offset).numpy()
    spectrum = total / len(images)
    spectrum = spectrum if per_channel else spectrum.mean(axis=-1)
    return spectrum.astype(np.float32)


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
        >>> spectrum = log_amplitude_difference(2.0 * ones, ones, offset=1e-3)
        >>> (spectrum / np.log(2.0)).round(2).tolist()
        [[0.0, 0.0], [0.0, 1.0]]
    """
    images = checked_images("images", gather(images).images)
    others = checked_images("others", gather(others, name="others").images)
    check_same("others", others, images, first=1)
    return log_amplitude(images, **settings) - log_amplitude(others, **settings)


@tf.function(
    autograph=False, input_signature=[tf.TensorSpec([None] * 4), tf.TensorSpec([])]
)
def _log_amplitudes(images: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """The sum over images, `[H,W,C]`, centred."""
    planes = tf.cast(tf.transpose(images, [0, 3, 1, 2]), tf.complex64)
    logs = tf.math.log(tf.abs(tf.signal.fft2d(planes)) + offset)
    centered = tf.signal.fftshift(tf.reduce_sum(logs, axis=0), axes=[1, 2])
    return tf.transpose(centered, [1, 2, 0])
