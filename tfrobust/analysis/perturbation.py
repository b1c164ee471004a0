"""How a perturbation looks from nearby: do neighbouring pixels change together?

"Dissecting Local Properties of Adversarial Examples" finds the perturbations of
standard networks disordered from pixel to pixel, and those of robust networks locally
consistent. Here that is numbers, one for each perturbation. Neighbours are pixels above
and beside each other in one channel.

    perturbation             sign agreement    total variation over L1 norm
    constant                 1                 0
    independent signs        1/2 on average    about 2
    checkerboard             0                 about 4
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.images import check_batch
from tfrobust.core.selection import selected
from tfrobust.settings import require, require_positive, require_steps

# Above the rounding of `(x + d) - x` in float32, far below a level of 8 bits.
_TOLERANCE = 1e-5


class PerturbationMeans(NamedTuple):
    """Means over some of the images.

    Attributes:
        images: How many images were perturbed at all.
        sign_agreement: As the function of this name, over those where it is defined.
        total_variation_ratio: As the function of this name.
        share_at_bound: As the function of this name.
    """

    images: int
    sign_agreement: Estimate
    total_variation_ratio: Estimate
    share_at_bound: Estimate

    def describe(self) -> str:
        """One line for a table's foot, also of no images."""
        if not self.images:
            return "no perturbed images"
        numbers = ", ".join(
            f"{name.replace('_', ' ')} {mean.value:.3f} +- {mean.standard_error:.3f}"
            for name, mean in zip(self._fields[1:], self[1:], strict=True)
        )
        return f"{numbers} over {self.images} images"


@dataclasses.dataclass(frozen=True, eq=False)
class PerturbationStatistics:
    """What `perturbation_statistics` found of N perturbations.

    Attributes:
        sign_agreement: float32 `[N]`, NaN where no neighbours both change.
        total_variation_ratio: float32 `[N]`, NaN where nothing changes.
        share_at_bound: float32 `[N]`.

    Example:
        >>> flat = np.full((1, 2, 2, 1), 0.1, np.float32)
        >>> result = perturbation_statistics(flat, eps=0.1)
        >>> result.means().sign_agreement.value
        1.0
        >>> result.select([False]).means().describe()
        'no perturbed images'
    """

    sign_agreement: np.ndarray
    total_variation_ratio: np.ndarray
    share_at_bound: np.ndarray

    def select(self, mask: Any) -> PerturbationStatistics:
        """The same of some of the images, an attack's successes, say.

        Args:
            mask: bool `[N]`. It may hold nowhere.

        Raises:
            ValueError: If it is no bool `[N]`.
        """
        columns = self.sign_agreement, self.total_variation_ratio, self.share_at_bound
        return PerturbationStatistics(*selected(columns, mask))

    def means(self) -> PerturbationMeans:
        """Means over the images that were perturbed.

        An image that was left as it is, such as one that the model got wrong from the
        start, has nothing to measure and is left out. Where none is left the means are
        NaN and `images` is 0.
        """
        rows = ~np.isnan(self.total_variation_ratio)
        return PerturbationMeans(
            int(np.sum(rows)),
            mean(self.sign_agreement[rows & ~np.isnan(self.sign_agreement)]),
            mean(self.total_variation_ratio[rows]),
            mean(self.share_at_bound[rows]),
        )


def sign_agreement(perturbations: Any) -> tf.Tensor:
    """The share of neighbouring values that change in the same direction.

    Pairs of which one value is 0 have no two signs and do not count, so a sparse
    perturbation is judged by where it is dense.

    Args:
        perturbations: Floating `[B,H,W,C]`, adversarial less natural images.

    Returns:
        float32 `[B]` in [0, 1]; NaN where no pair counts, as for no perturbation.

    Raises:
        ValueError: If the shape or type is wrong; eagerly also if a value is not
            finite.

    Reference: Dissect, figures 3, 7 and 8, as a number.

    Example:
        >>> changes = tf.reshape(tf.constant([3.0, 1.0, -2.0, 0.0]), [1, 1, 4, 1])
        >>> sign_agreement(changes).numpy().tolist()
        [0.5]
    """
    signs = tf.sign(check_batch("perturbations", perturbations))
    products = [first * second for first, second in _neighbors(signs)]
    agreeing = sum(_total(tf.nn.relu(product)) for product in products)
    return _ratio(agreeing, sum(_total(tf.abs(product)) for product in products))


def total_variation_ratio(perturbations: Any) -> tf.Tensor:
    """Anisotropic total variation over L1 norm, `sum |d_i - d_j| / sum |d_i|`.

    Pairs of neighbours (i, j) count once. The ratio does not depend on the size of the
    changes. It lies in [0, 4], since a value has at most four neighbours: 0 of a
    constant, 4 of lone values inside the image, `4 - 2 / H - 2 / W` of a checkerboard,
    half of that on average of independent signs of one size.

    Args:
        perturbations: As for `sign_agreement`.

    Returns:
        float32 `[B]`; NaN of no perturbation.

    Raises:
        ValueError: As for `sign_agreement`.

    Reference: Dissect, figures 3, 7 and 8, as a number.

    Example:
        >>> changes = tf.reshape(tf.constant([3.0, 1.0, -2.0, 0.0]), [1, 1, 4, 1])
        >>> round(float(total_variation_ratio(changes)[0]) * 6)
        7
    """
    changes = check_batch("perturbations", perturbations)
    pairs = _neighbors(changes)
    variation = sum(_total(tf.abs(first - second)) for first, second in pairs)
    return _ratio(variation, _total(tf.abs(changes)))


def share_at_bound(
    perturbations: Any, eps: float, tolerance: float = _TOLERANCE
) -> tf.Tensor:
    """The share of values that changed by as much as the L-infinity bound allows.

    `|d_i| >= eps - tolerance`. A pixel too close to 0 or 1 to change so far counts
    among those that did not, so an image with much black or white stays below 1
    whatever the attack.

    Args:
        perturbations: As for `sign_agreement`.
        eps: Radius of the ball, above 0, in units of images in [0, 1].
        tolerance: What may be missing, at least 0 and below `eps`; by default more than
            float32 rounds off. Images that were rounded to 8 bits need no more where
            `eps` is a number of levels, and half a level otherwise.

    Returns:
        float32 `[B]` in [0, 1]; 0 of no perturbation.

    Raises:
        ValueError: If a setting is out of range, and as for `sign_agreement`.

    Example:
        >>> changes = tf.reshape(tf.constant([0.1, -0.1, 0.05, 0.0]), [1, 1, 4, 1])
        >>> share_at_bound(changes, eps=0.1).numpy().tolist()
        [0.5]
    """
    changes = check_batch("perturbations", perturbations)
    _check_bound(eps, tolerance)
    reached = tf.abs(changes) >= eps - tolerance
    return tf.reduce_mean(tf.cast(reached, tf.float32), axis=[1, 2, 3])


def perturbation_statistics(
    perturbations: Any,
    eps: float,
    tolerance: float = _TOLERANCE,
    batch_size: int = 500,
) -> PerturbationStatistics:
    """Local consistency of many perturbations.

    Args:
        perturbations: Floating `[N,H,W,C]`, adversarial less natural images; N may be
            0.
        eps: As for `share_at_bound`.
        tolerance: As for `share_at_bound`.
        batch_size: Perturbations at a time.

    Returns:
        The three numbers of each perturbation, and their means.

    Raises:
        ValueError: If a setting is out of range, and as for `sign_agreement`.

    Example:
        >>> signs = np.float32([[1, -1], [-1, 1]]).reshape(1, 2, 2, 1)
        >>> perturbation_statistics(0.1 * signs, eps=0.1).means().describe()[:20]
        'sign agreement 0.000'
    """
    changes = check_batch("perturbations", perturbations)
    _check_bound(eps, tolerance)
    require_steps("batch_size", batch_size)
    statistics = np.zeros((3, len(changes)), np.float32)
    for start in range(0, len(changes), batch_size):
        rows = slice(start, start + batch_size)
        part = changes[rows]
        statistics[0, rows] = sign_agreement(part)
        statistics[1, rows] = total_variation_ratio(part)
        statistics[2, rows] = share_at_bound(part, eps, tolerance)
    return PerturbationStatistics(*statistics)


def _neighbors(images: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """The values of each pair: below each other, and beside each other."""
    return [
        (images[:, :-1], images[:, 1:]),
        (images[:, :, :-1], images[:, :, 1:]),
    ]


def _total(images: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(images, axis=[1, 2, 3])


def _ratio(part: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
    """NaN, without a division, where there is nothing to divide by."""
    divisor = tf.where(whole > 0.0, whole, 1.0)
    return tf.where(whole > 0.0, part / divisor, math.nan)


def _check_bound(eps: float, tolerance: float) -> None:
    require_positive("eps", eps)
    allowed = f"at least 0 and below `eps`, {eps:g}"
    require(0 <= tolerance < eps, "tolerance", tolerance, allowed)
