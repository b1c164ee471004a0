"""How often an attack succeeds, and how far it has to go.

The protocol of "Smooth Adversarial Examples" (Zhang, Avrithis, Furon and Amsaleg 2020),
equations 20 and 21. Over the images that are classified correctly: the probability of
success, the mean distortion given success, and the operating characteristic P(D), the
share of images that are fooled within a distortion of D. Attacks that look for a
success come with one distortion for each image; an attack within a radius is run at
several radii and scored by its least distorted success.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import gathered
from tfrobust.attacks import AttackOutcome, AttackResult, from_norm
from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.images import pixels_in
from tfrobust.core.selection import selected
from tfrobust.settings import require_steps


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Characteristic:
    """What an attack did to M images that a model classifies correctly.

    Made from results by `characteristic`, or from plain arrays.

    Attributes:
        distortion: float64 `[M]`. Only that of a success counts.
        success: bool `[M]`.
        index: int64 `[M]`, where each image stands among those that were given to the
            attack; 0 to M - 1 if left out.

    Raises:
        ValueError: If the arrays differ in shape or are not of rank 1, or the
            distortion of a success is negative or not finite.

    Example:
        >>> curve = Characteristic(distortion=[3, 1, 9, 2], success=[1, 1, 0, 1])
        >>> curve.success_rate().value, curve.mean_distortion().value
        (0.75, 2.0)
        >>> curve.at([0.5, 2.0]).tolist(), curve.worst(2).tolist()
        ([0.0, 0.5], [0, 3])
    """

    distortion: np.ndarray
    success: np.ndarray
    index: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check the arrays and bring them to their dtypes."""
        distortion = np.array(self.distortion, np.float64)
        success = np.array(self.success, bool)
        index = self.index
        index = np.arange(success.size) if index is None else np.array(index, np.int64)
        shapes = [distortion.shape, success.shape, index.shape]
        if distortion.ndim != 1 or len(set(shapes)) > 1:
            raise ValueError(
                "`distortion`, `success` and `index` must have one shape [M]. "
                f"Received: shapes {shapes}"
            )
        counted = distortion[success]
        if not np.all((counted >= 0) & (counted < math.inf)):
            raise ValueError(
                "`distortion` must be finite and at least 0 where there is a success. "
                f"Received: values from {counted.min():g} to {counted.max():g}"
            )
        object.__setattr__(self, "distortion", distortion)
        object.__setattr__(self, "success", success)
        object.__setattr__(self, "index", index)

    def select(self, mask: Any) -> Characteristic:
        """The same of some of the images.

        Args:
            mask: bool `[M]`. It may hold nowhere.

        Raises:
            ValueError: If it is no bool `[M]`.
        """
        columns = [self.distortion, self.success, self.index]
        names = ("distortion", "success", "index")
        return Characteristic(**dict(zip(names, selected(columns, mask), strict=True)))

    def means(self) -> dict[str, Estimate]:
        """Both numbers of the paper's tables.

        Returns:
            `success`, from `success_rate`, and `distortion`, from `mean_distortion`.
        """
        return {"success": self.success_rate(), "distortion": self.mean_distortion()}

    def success_rate(self) -> Estimate:
        """P_suc, the share of images with a success; NaN without images."""
        return mean(self.success)

    def mean_distortion(self) -> Estimate:
        """The mean distortion of the successes; NaN without any."""
        return mean(self.distortion[self.success])

    def at(self, distortions: Any) -> np.ndarray:
        """P(D): the share of all images with a success at distortion D or less.

        Args:
            distortions: Numbers of any shape, or one.

        Returns:
            float64 of the same shape; NaN without images.
        """
        ordered = np.sort(self.distortion[self.success])
        counts = np.searchsorted(ordered, distortions, side="right")
        return self._shares(np.asarray(counts, np.float64))

    def standard_error(self, distortions: Any) -> np.ndarray:
        """The standard error of `at`, binomial: `sqrt(p (1 - p) / (M - 1))`.

        Args:
            distortions: As for `at`.

        Returns:
            float64 of the same shape; NaN with fewer than two images.
        """
        share = self.at(distortions)
        if self.success.size < 2:
            return np.full(share.shape, math.nan)
        return np.sqrt(share * (1.0 - share) / (self.success.size - 1))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """The exact step curve P(D), for `tfrobust.viz.operating_characteristics`.

        Returns:
            Distortions, float64 `[S]`, rising from 0 to the largest of a success; and
            P from each of them to the next, float64 `[S]`.
        """
        values = np.unique(np.append(self.distortion[self.success], 0.0))
        return values, self.at(values)

    def worst(self, count: int) -> np.ndarray:
        """Which successes needed the largest distortions, the largest first.

        Args:
            count: How many, at least 1.

        Returns:
            int64 `[count]`, or fewer if there are no more: entries of `index`. Of equal
            distortions the first comes first.

        Raises:
            ValueError: If `count` is below 1.
        """
        require_steps("count", count)
        rows = np.flatnonzero(self.success)
        ranked = rows[np.argsort(-self.distortion[rows], kind="stable")]
        return np.asarray(self.index)[ranked[:count]]

    def _shares(self, counts: np.ndarray) -> np.ndarray:
        if not self.success.size:
            return np.full(counts.shape, math.nan)
        return counts / self.success.size


def characteristic(
    *results: AttackResult | AttackOutcome, rounded: bool = False
) -> Characteristic:
    """What an attack did, over the images that were classified correctly.

    Images that were what the attack wanted before it touched them, `already` in a
    result, are left out.

    Args:
        *results: What the attack found; several for several batches, in their order.
            Attacks of different norms are compared in one: see `remeasure`.
        rounded: Whether to judge and measure the images rounded to 8 bits.

    Returns:
        The characteristic. Its `index` counts through all batches.

    Raises:
        ValueError: If there is no result, or something else than a result, such as a
            list of them.

    Example:
        >>> from tfrobust import attacks
        >>> images = tf.reshape(tf.constant([0.25, 0.5, 0.75]), [3, 1, 1, 1])
        >>> def model(x):
        ...     return tf.concat([x[:, 0, 0], 0.625 - x[:, 0, 0]], axis=-1)
        >>> result = attacks.FGSM(eps=0.375)(model, images, [0, 0, 0])
        >>> curve = characteristic(result)
        >>> curve.index.tolist(), curve.success.tolist()
        ([1, 2], [True, False])
    """
    if not results:
        raise ValueError("`results` must hold at least one result. Received: none")
    for part in results:
        if not isinstance(part, AttackResult | AttackOutcome):
            raise ValueError(
                "`results` must be results, each an argument of its own. "
                f"Received: {type(part).__name__}"
            )
    suffix = "_rounded" if rounded else ""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([np.asarray(getattr(part, name)) for part in results])

    counted = ~joined("already")
    return Characteristic(
        distortion=joined(f"distortion{suffix}")[counted],
        success=joined(f"success{suffix}")[counted],
        index=np.flatnonzero(counted),
    )


def remeasure(
    result: AttackResult | AttackOutcome,
    images: Any,
    norm: float | str = 2,
    *,
    bounds: Any = None,
) -> AttackResult:
    """A result with its distortions in another norm.

    The paper's D is Euclidean whatever norm an attack is constrained in.

    Args:
        result: What an attack found, adversarial images included. An `AttackOutcome`
            comes back as an `AttackResult`: the radius of its threat is not of this
            norm.
        images: `[B,H,W,C]` within the bounds in any form, the originals.
        norm: 0, 1, 2, `"inf"` or `math.inf`.
        bounds: The range of the pixels, of the originals and of the result's images, as
            the attack had it; `(0, 1)` by default.

    Returns:
        The result, with `distortion` and `distortion_rounded` measured anew, in units
        of images in [0, 1].

    Raises:
        ValueError: If the norm is unknown, the adversarial images were not kept, or the
            images are of another shape or leave the bounds.

    Example:
        >>> from tfrobust import attacks
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.75 - total], axis=-1)
        >>> result = attacks.FGSM(eps=0.125)(model, images, [0])
        >>> float(result.distortion[0]), float(remeasure(result, images).distortion[0])
        (0.125, 0.25)
    """
    constraint = from_norm(norm)
    if result.adversarial is None:
        raise ValueError(
            "`result` must hold its adversarial images; `evaluate` keeps them with "
            "`keep_images=True`. Received: adversarial=None"
        )
    pixels, _ = gathered(images, bounds=bounds)
    images = pixels.images
    kept = pixels_in(result.adversarial, bounds=pixels.bounds, name="result")
    adversarial = kept.images
    if images.shape != adversarial.shape:
        raise ValueError(
            "`images` must have the shape of the adversarial images, "
            f"{adversarial.shape}. Received: shape={images.shape}"
        )
    rounded = tf.round(adversarial * 255.0) / 255.0
    return AttackResult(
        adversarial=kept.given,
        success=tf.convert_to_tensor(result.success),
        distortion=constraint.distance(adversarial - images),
        success_rounded=tf.convert_to_tensor(result.success_rounded),
        distortion_rounded=constraint.distance(rounded - images),
        already=tf.convert_to_tensor(result.already),
        queries=tf.convert_to_tensor(result.queries),
    )
