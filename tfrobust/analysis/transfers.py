"""Whether what fools one model fools another, or the same one behind a filter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import gathered
from tfrobust.analysis.magnification import bilateral_filter
from tfrobust.analysis.responses import LocalResponse
from tfrobust.core.classifier import as_classifier
from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.images import check_classes, pixels_in
from tfrobust.core.pixels import to_unit
from tfrobust.core.selection import checked_mask
from tfrobust.settings import require_steps

Classify = Callable[[tf.Tensor], np.ndarray]
"""Maps float32 images `[B, H, W, C]` to classes, int `[B]`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Transfer:
    """What the adversarial images of one source did to one target.

    Attributes:
        clean_correct: bool `[N]`, whether the target has the source's clean images
            right.
        success: For each attack, bool `[N]`: whether it fooled the source.
        fooled: For each attack, bool `[N]`: whether the target is wrong on its image.
        responses: For each attack, how far its images move the target's features; of
            those attacks alone where that was measured.

    Example:
        >>> result = Transfer(
        ...     clean_correct=np.array([True, True, True, False]),
        ...     success={"pgd": np.array([True, True, False, True])},
        ...     fooled={"pgd": np.array([True, False, False, True])},
        ... )
        >>> result.counted("pgd").tolist(), result.rate("pgd").value
        ([True, True, False, False], 0.5)
        >>> result.select([True, False, False, False]).means()["pgd"].value
        1.0
    """

    clean_correct: np.ndarray
    success: dict[str, np.ndarray]
    fooled: dict[str, np.ndarray]
    responses: dict[str, LocalResponse] = dataclasses.field(default_factory=dict)

    def select(self, mask: Any) -> Transfer:
        """The same of some of the images.

        Args:
            mask: bool `[N]`. It may hold nowhere.

        Raises:
            ValueError: If it is no bool `[N]`.
        """
        rows = checked_mask(mask, len(self.clean_correct))
        return Transfer(
            self.clean_correct[rows],
            {name: success[rows] for name, success in self.success.items()},
            {name: fooled[rows] for name, fooled in self.fooled.items()},
            {name: each.select(rows) for name, each in self.responses.items()},
        )

    def means(self) -> dict[str, Estimate]:
        """The `rate` of each attack."""
        return {name: self.rate(name) for name in self.fooled}

    def counted(self, attack: str) -> np.ndarray:
        """Fooled the source, and the clean image does not fool the target; bool `[N]`.

        Only of these can it be said that a perturbation was transferred.
        """
        return self.success[attack] & self.clean_correct

    def rate(self, attack: str) -> Estimate:
        """Share of the counted images that fool the target; NaN if there are none."""
        return mean(self.fooled[attack][self.counted(attack)])

    def clean_accuracy(self, attack: str | None = None) -> Estimate:
        """The target's accuracy on clean images.

        Those of all images, or of an attack's successes on the source.
        """
        if attack is None:
            return mean(self.clean_correct)
        return mean(self.clean_correct[self.success[attack]])


def transfer(
    classify: Any,
    images: Any,
    adversarial: Mapping[str, Any],
    success: Mapping[str, np.ndarray],
    batch_size: int = 128,
    *,
    labels: Any = None,
    clean_correct: Any = None,
    bounds: Any = None,
) -> Transfer:
    """Shows a target the clean and the adversarial images of a source.

    Args:
        classify: The target: a Keras model or a loaded SavedModel, as for an attack's
            call; or a function from images to classes, as `Classify` has it.
        images: The clean images, `[N,H,W,C]` within the target's bounds in any form,
            such as a `data.Dataset`; see `tfrobust.analysis`.
        adversarial: For each attack the same after it, in any form.
        success: For each attack bool `[N]`, whether it fooled the source.
        batch_size: Images at a time.
        labels: As for an attack's call, unless `images` brings them.
        clean_correct: bool `[N]`, whether the target has the clean images right, where
            that was measured before; it is measured if left out.
        bounds: The range of the target's pixels, as for an attack's call.

    Returns:
        What the target made of them.

    Raises:
        ValueError: If labels are missing, `batch_size` is out of range, or images are
            of a wrong shape or type or leave the bounds.

    Example:
        >>> from tfrobust.data import Dataset
        >>> images = Dataset(
        ...     images=np.uint8([0, 255]).reshape(2, 1, 1, 1), labels=[0, 1],
        ...     class_names=("dark", "bright"), name="two")
        >>> def classify(shown):
        ...     return np.int32(shown[:, 0, 0, 0] > 0.5)
        >>> moved = {"pgd": np.float32([0.6, 0.9]).reshape(2, 1, 1, 1)}
        >>> success = {"pgd": np.array([True, True])}
        >>> result = transfer(classify, images, moved, success, batch_size=2)
        >>> result.rate("pgd").value
        0.5
    """
    require_steps("batch_size", batch_size)
    pixels, labels = gathered(images, labels, classify, bounds, labeled=True)
    labels = check_classes("labels", labels, pixels.images).numpy()
    ask = _classes_by(classify, pixels.bounds)

    def wrong(shown: tf.Tensor) -> np.ndarray:
        starts = range(0, len(shown), batch_size)
        parts = [np.asarray(ask(shown[i : i + batch_size])) for i in starts]
        return np.asarray(np.concatenate(parts) != labels)

    if clean_correct is None:
        clean_correct = ~wrong(pixels.given)
    fooled = {}
    for name, moved in adversarial.items():
        shown, _ = gathered(moved, None, classify, bounds, name="adversarial")
        fooled[name] = wrong(shown.given)
    return Transfer(np.asarray(clean_correct), dict(success), fooled)


def behind_filter(
    classify: Any, std: float = 0.5, range_std: float = 0.2, *, bounds: Any = None
) -> Classify:
    """The same target, shown images through `analysis.bilateral_filter`.

    The defaults are those of the paper's Table 3 (SMO-S10). The weight of a pixel is
    one for all its channels, by the distance of colours, as in the paper; the authors'
    code weighs channel by channel in a window of 5 pixels to each side (SMO-R6). Here
    it reaches 2, and what lies beyond weighs less than 1e-7 of the centre.

    Args:
        classify: The target, as for `transfer`.
        std: As `spatial_std` of `bilateral_filter`.
        range_std: As for `bilateral_filter`, in units of images in [0, 1].
        bounds: The range of the target's pixels, as for an attack's call.

    Returns:
        Maps images `[B, H, W, C]` within the bounds to classes.

    Reference: Zhang et al. 2020, Smooth Adversarial Examples, Table 3.

    Example:
        >>> def classify(shown):
        ...     return np.int32(shown[:, 0, 0, 0] > 0.5)
        >>> noisy = tf.reshape(tf.constant([0.51, 0.45, 0.45, 0.45]), [1, 1, 4, 1])
        >>> filtered = behind_filter(classify, std=5.0, range_std=1.0)
        >>> classify(noisy).tolist(), filtered(noisy).tolist()
        ([1], [0])
    """
    ask = _classes_by(classify, bounds)

    def filtered(images: tf.Tensor) -> np.ndarray:
        pixels = pixels_in(images, classify, bounds)
        shown = bilateral_filter(pixels.images, std, range_std)
        return ask(pixels.restored(tf.clip_by_value(shown, 0.0, 1.0)))

    return filtered


def _classes_by(classify: Any, bounds: Any) -> Classify:
    """A target as a function from images within its bounds to classes."""
    is_model = isinstance(classify, keras.layers.Layer) or hasattr(
        classify, "signatures"
    )
    if not is_model:
        return classify
    classifier = as_classifier(classify, bounds)

    def classes(images: tf.Tensor) -> np.ndarray:
        unit = to_unit(tf.cast(images, tf.float32), classifier.bounds)
        logits = classifier(unit)
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
        return tf.where(finite, tf.argmax(logits, axis=1), -1).numpy()

    return classes
