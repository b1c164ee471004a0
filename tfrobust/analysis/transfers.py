"""Whether what fools one model fools another, or the same one behind a filter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.analysis.magnification import bilateral_filter
from tfrobust.analysis.responses import LocalResponse
from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.examples import gather
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
    classify: Classify,
    images: Any,
    adversarial: Mapping[str, Any],
    success: Mapping[str, np.ndarray],
    batch_size: int = 128,
    *,
    labels: Any = None,
    clean_correct: Any = None,
) -> Transfer:
    """Shows a target the clean and the adversarial images of a source.

    Args:
        classify: The target.
        images: The clean images, float32 `[N,H,W,C]` in [0, 1] in any form, such as a
            `data.Dataset`; see `tfrobust.analysis`.
        adversarial: For each attack float32 `[N,H,W,C]` in any form.
        success: For each attack bool `[N]`, whether it fooled the source.
        batch_size: Images at a time.
        labels: Integer `[N]`, unless `images` brings them.
        clean_correct: bool `[N]`, whether the target has the clean images right, where
            that was measured before; it is measured if left out.

    Returns:
        What the target made of them.

    Raises:
        ValueError: If labels are missing or `batch_size` is out of range.

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
    clean, labels = gather(images, labels, labeled=True)

    def wrong(given: Any, name: str) -> np.ndarray:
        shown = gather(given, name=name).images
        starts = range(0, len(shown), batch_size)
        parts = [classify(tf.constant(shown[i : i + batch_size])) for i in starts]
        return np.asarray(np.concatenate(parts) != labels)

    if clean_correct is None:
        clean_correct = ~wrong(clean, "images")
    fooled = {name: wrong(shown, "adversarial") for name, shown in adversarial.items()}
    return Transfer(np.asarray(clean_correct), dict(success), fooled)


def behind_filter(classify: Classify, std: float, range_std: float) -> Classify:
    """The same target, shown images through `analysis.bilateral_filter`.

    Args:
        classify: The target.
        std: As `spatial_std` of `bilateral_filter`.
        range_std: As for `bilateral_filter`.

    Returns:
        Maps images `[B, H, W, C]` to classes, as `classify` does.

    Example:
        >>> def classify(shown):
        ...     return np.int32(shown[:, 0, 0, 0] > 0.5)
        >>> noisy = tf.reshape(tf.constant([0.51, 0.45, 0.45, 0.45]), [1, 1, 4, 1])
        >>> filtered = behind_filter(classify, std=5.0, range_std=1.0)
        >>> classify(noisy).tolist(), filtered(noisy).tolist()
        ([1], [0])
    """

    def filtered(images: tf.Tensor) -> np.ndarray:
        shown = bilateral_filter(images, std, range_std)
        return classify(tf.clip_by_value(shown, 0.0, 1.0))

    return filtered
