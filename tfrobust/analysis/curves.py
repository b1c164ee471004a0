"""A network's accuracy over the part of the spectrum that it is shown.

The first part of "Dissecting Local Properties of Adversarial Examples": images are
filtered at a threshold, or swap what lies above it, and go to a network. Scales are
those of `tfrobust.analysis.filters`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import any_number, compiled, gathered
from tfrobust.analysis.filters import (
    check_same,
    check_size,
    checked_scale,
    high_pass,
    low_pass,
    swap_high,
)
from tfrobust.core.classifier import Classifier
from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.images import Pixels, check_classes
from tfrobust.core.selection import selected
from tfrobust.settings import require, require_steps


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
        >>> [f"{scale}: {point.value}" for scale, point in curve.means().items()]
        ['0.5: 0.5', '1.0: 1.0']
        >>> curve.select([False, True]).means()[0.5].value
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

    def select(self, mask: Any) -> AccuracyCurve:
        """The same of some of the images, say those that an attack succeeded on.

        Args:
            mask: bool `[N]`. Where it holds nowhere, the accuracy is NaN.

        Raises:
            ValueError: If it is no bool `[N]`.
        """
        (columns,) = selected([self.correct.T], mask)
        return AccuracyCurve(self.scales, columns.T)

    def means(self) -> dict[float, Estimate]:
        """The accuracy at each scale; NaN of no images.

        Returns:
            `{scale: share of correct answers}`, in the order of the scales.
        """
        rows = zip(self.scales, self.correct, strict=True)
        return {scale: mean(row) for scale, row in rows}

    def points(self) -> tuple[list[float], list[float], list[float]]:
        """Scales, accuracy and its standard error, as `viz` takes a curve."""
        means = [mean(row) for row in self.correct]
        values = [point.value for point in means]
        return list(self.scales), values, [point.standard_error for point in means]


def filtered_accuracy(
    model: Any,
    images: Any,
    labels: Any,
    scales: Sequence[float],
    kind: str = "low",
    batch_size: int = 100,
    clip: bool = False,
    *,
    bounds: Any = None,
) -> AccuracyCurve:
    """How well a network recognises images of which only a part is left.

    At the scale sqrt(2) the low-pass leaves the accuracy on whole images.

    Filtered images are shown as they are by default, also where they leave the bounds:
    clipping would bring back frequencies that the filter took, and would cut off half
    of a high-pass, whose mean is 0. `clip` shows what a picture file could hold.

    Args:
        model: As for an attack's call: a Keras model, a loaded SavedModel, or any
            callable from images to logits `[B,K]`.
        images: `[N,H,W,C]` within the bounds in any form, natural or adversarial, H and
            W at least 2. Of no images the accuracy is NaN.
        labels: As for an attack's call; `None` where `images` brings them.
        scales: Numbers in [0, sqrt(2)], at least one.
        kind: `"low"` shows what lies up to the scale, `"high"` what lies above.
        batch_size: Images at a time.
        clip: Whether to clip filtered images to the bounds.
        bounds: The range of the pixels, as for an attack's call.

    Returns:
        The curve. Logits that are not finite count as a wrong answer.

    Raises:
        ValueError: If images or labels are of a wrong shape, type or range, or a
            setting is out of range.

    Reference: Dissect, figures 1(a, b), low, and 6, high.

    Example:
        >>> def model(images):  # are there stripes?
        ...     contrast = tf.math.reduce_std(images, axis=[1, 2, 3])
        ...     return tf.stack([0.1 - contrast, contrast - 0.1], axis=1)
        >>> stripes = tf.reshape(tf.constant([0.0, 1.0, 0.0, 1.0]), [1, 2, 2, 1])
        >>> curve = filtered_accuracy(model, stripes, [1], [0.0, 0.5, 1.0])
        >>> [point.value for point in curve.means().values()]
        [0.0, 0.0, 1.0]
    """
    pixels, labels = gathered(images, labels, model, bounds, labeled=True)
    check_size("images", pixels.images)
    _check_kind(kind)
    keep = low_pass if kind == "low" else high_pass

    def shown(scale: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        return keep(batch, scale)

    key = ("filtered", kind, clip)
    return _accuracy(model, key, shown, (pixels,), labels, scales, batch_size)


def swapped_accuracy(
    model: Any,
    natural: Any,
    adversarial: Any,
    labels: Any,
    scales: Sequence[float],
    kind: str = "high",
    batch_size: int = 100,
    clip: bool = False,
    *,
    bounds: Any = None,
) -> AccuracyCurve:
    """How well a network recognises images with a part taken from adversarial ones.

    With `kind="high"` what lies above the scale is adversarial, so that the curve ends,
    at sqrt(2), at the accuracy on natural images; with `"low"` what lies up to the
    scale is, and it ends at that on adversarial ones.

    Args:
        model: As for `filtered_accuracy`.
        natural: `[N,H,W,C]` within the bounds in any form, H and W at least 2.
        adversarial: The same images after an attack, in any form.
        labels: As for an attack's call; `None` where `natural` brings them.
        scales: As for `filtered_accuracy`.
        kind: Which part comes from the adversarial images, `"high"` or `"low"`.
        batch_size: As for `filtered_accuracy`.
        clip: As for `filtered_accuracy`.
        bounds: The range of the pixels, as for an attack's call.

    Returns:
        The curve. Logits that are not finite count as a wrong answer.

    Raises:
        ValueError: If the two differ in shape, and as for `filtered_accuracy`.

    Reference: Dissect, figure 1(c, d).

    Example:
        >>> def model(images):  # are there stripes?
        ...     contrast = tf.math.reduce_std(images, axis=[1, 2, 3])
        ...     return tf.stack([0.1 - contrast, contrast - 0.1], axis=1)
        >>> stripes = tf.reshape(tf.constant([0.0, 1.0, 0.0, 1.0]), [1, 2, 2, 1])
        >>> gray = tf.fill([1, 2, 2, 1], 0.5)
        >>> curve = swapped_accuracy(model, stripes, gray, [1], [0.5, 1.0])
        >>> [point.value for point in curve.means().values()]
        [0.0, 1.0]
    """
    plain, labels = gathered(
        natural, labels, model, bounds, name="natural", labeled=True
    )
    moved, _ = gathered(adversarial, None, model, bounds, name="adversarial")
    check_size("natural", plain.images)
    check_same("adversarial", moved.images, plain.images, than="natural")
    _check_kind(kind)
    # In the order of the spectrum: up to the scale, above it.
    parts = (plain, moved) if kind == "high" else (moved, plain)

    def shown(scale: tf.Tensor, below: tf.Tensor, above: tf.Tensor) -> tf.Tensor:
        return swap_high(below, above, scale)

    key = ("swapped", clip)
    return _accuracy(model, key, shown, parts, labels, scales, batch_size)


def _accuracy(
    model: Any,
    key: tuple[Any, ...],
    shown: Callable[..., tf.Tensor],
    parts: tuple[Pixels, ...],
    labels: Any,
    scales: Sequence[float],
    batch_size: int,
) -> AccuracyCurve:
    """Answers to what `shown(scale, *batches)` makes of the images, by one graph.

    The key is of `shown`; it ends in whether to clip.
    """
    bounds, images = parts[0].bounds, [part.images for part in parts]
    labels = check_classes("labels", labels, images[0])
    require_steps("batch_size", batch_size)
    steps = [checked_scale("scales", scale) for scale in scales]
    if not steps:
        raise ValueError("`scales` must hold at least one number. Received: none")
    clip = key[-1]

    def right(
        classifier: Classifier, scale: tf.Tensor, truth: tf.Tensor, *batches: tf.Tensor
    ) -> tf.Tensor:
        seen = shown(scale, *batches)
        seen = tf.ensure_shape(seen, batches[0].shape)
        logits = classifier(tf.clip_by_value(seen, 0.0, 1.0) if clip else seen)
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
        return finite & (tf.argmax(logits, axis=1, output_type=truth.dtype) == truth)

    specs = tf.TensorSpec([]), any_number(labels), *map(any_number, images)
    graph = compiled(model, bounds, images[0], key, right, *specs)
    correct = np.zeros((len(steps), len(labels)), bool)
    for start in range(0, len(labels), batch_size):
        rows = slice(start, start + batch_size)
        for index, scale in enumerate(steps):
            batches = (part[rows] for part in images)
            correct[index, rows] = graph(scale, labels[rows], *batches).numpy()
    return AccuracyCurve(tuple(scales), correct)


def _check_kind(kind: str) -> None:
    require(kind in ("low", "high"), "kind", kind, '"low" or "high"')
