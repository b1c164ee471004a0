"""The threat model: what an adversary may do to an image."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

import tensorflow as tf

from tfrobust.attacks import constraints

# Rounding x + delta to float32 moves a distance by about this much.
_ROUNDING = 1e-6
# Between neighbouring float32 numbers just below 1.
_SPACING = 2.0**-24


def rounded_up(eps: Any) -> Any:
    """A radius, and what float32 may add to the distance of an image at its edge.

    Example:
        >>> rounded_up(1.0)
        1.000002
    """
    return eps + _ROUNDING * (1.0 + eps)


@dataclasses.dataclass(frozen=True)
class ThreatModel:
    """A norm, a radius in pixel units, and the range [0, 1] of an image.

    Training, attack and evaluation share this object, so that they speak of the same
    ball. Normalising pixels is the model's business, not the threat's: eps is in units
    of images in [0, 1] whatever the model does with them.

    Attributes:
        norm: 0, 1, 2, `"inf"` or `math.inf`.
        eps: Largest distance allowed, for instance `8 / 255`, or a number of entries in
            norm 0; `None` for no limit.

    Raises:
        ValueError: If `norm` is unknown, or `eps` negative or not finite.

    Example:
        >>> threat = ThreatModel(norm="inf", eps=8 / 255)
        >>> image, other = tf.fill([1, 2, 2, 3], 0.5), tf.fill([1, 2, 2, 3], 0.54)
        >>> threat.allows(image, other).numpy().tolist()
        [False]
        >>> str(threat)
        'Linf eps 0.03137'
    """

    norm: float | str
    eps: float | None = None

    def __post_init__(self) -> None:
        constraints.from_norm(self.norm)
        if self.eps is None:
            return
        if not isinstance(self.eps, numbers.Real):
            raise ValueError(f"`eps` must be a number. Received: eps={self.eps!r}")
        if not 0 <= self.eps < math.inf:
            raise ValueError(
                f"`eps` must be finite and at least 0. Received: eps={self.eps}"
            )

    @property
    def constraint(self) -> constraints.Constraint:
        """The norm's geometry."""
        return constraints.from_norm(self.norm)

    @property
    def order(self) -> float:
        """The norm as a number, `math.inf` for `"inf"`."""
        return math.inf if self.norm == "inf" else float(self.norm)

    def distance(self, images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        """Distance of each pair of images `[B,H,W,C]` in the norm, float32 `[B]`."""
        return self.constraint.distance(others - images)

    def allows(
        self, images: tf.Tensor, others: tf.Tensor, eps: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Where `others` are images in [0, 1] no farther than eps, bool `[B]`.

        Args:
            images: float32 `[B,H,W,C]`, the originals.
            others: float32 `[B,H,W,C]`.
            eps: float32 `[B]`, a radius for each image, in place of the object's.
        """
        inside = tf.reduce_all((others >= 0.0) & (others <= 1.0), axis=[1, 2, 3])
        limit = self.eps if eps is None else eps
        if limit is None:
            return inside
        distance = self.distance(images, others)
        return inside & (distance <= rounded_up(limit))

    def project(
        self, images: tf.Tensor, others: tf.Tensor, eps: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Others brought into the ball, then into [0, 1]; float32 `[B,H,W,C]`.

        Clipping second only brings a point nearer to an image that is in the box
        itself, so the result satisfies both.
        """
        limit = self.eps if eps is None else eps
        if limit is not None:
            limit = tf.reshape(tf.cast(limit, tf.float32), [-1, 1, 1, 1])
            delta = self.constraint.project(others - images, limit)
            others = images + delta
            if self.norm == 1:
                others = rounded_inwards(images, others, delta)
        return tf.clip_by_value(others, 0.0, 1.0)

    def __str__(self) -> str:
        name = f"L{'inf' if self.norm in ('inf', math.inf) else self.norm}"
        return name if self.eps is None else f"{name} eps {self.eps:.4g}"


def rounded_inwards(
    images: tf.Tensor, others: tf.Tensor, delta: tf.Tensor
) -> tf.Tensor:
    """`images + delta` in float32, never farther from the image than `delta`.

    Thousands of sums rounded away from the image add up to more than L1 forgives.
    """
    over = tf.abs(others - images) > tf.abs(delta)
    nearer = others - tf.sign(delta) * _SPACING
    nearer = tf.where(tf.abs(delta) < 2.0 * _SPACING, images, nearer)
    return tf.where(over, nearer, others)
