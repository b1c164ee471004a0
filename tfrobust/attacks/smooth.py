"""Attacks whose perturbations are smooth where the image is (Zhang et al. 2020).

Each is its plain version with one thing put in: the operator that smooths.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import tensorflow as tf

from tfrobust.attacks.carlini_wagner import CarliniWagnerL2
from tfrobust.attacks.pgd import PGD, Direction
from tfrobust.attacks.problem import Problem
from tfrobust.attacks.registry import register
from tfrobust.attacks.spaces import Smoothed, Space
from tfrobust.settings import require_not_negative, require_steps
from tfrobust.smoothing import Smoother, iterations_for
from tfrobust.smoothing import checks as smoothing_checks

# Error of a solve from zeros, where `iterations` does not say otherwise: about that of
# the paper's 50 conjugate gradients at alpha 0.997. The attack of Carlini and Wagner
# begins solves where the last step's ended, and comes a few times closer.
_PRECISION = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Smooth:
    """The settings of the smoothing; see `smoothing.Smoother`."""

    alpha: float = 0.95
    bandwidth: float = 0.1
    kernel: str = "laplacian"
    neighbors: int = 4
    iterations: int | None = None
    solver: str | None = None

    def __post_init__(self) -> None:
        """Check the settings, and those of the plain attack."""
        super().__post_init__()  # type: ignore[misc]
        smoothing_checks.check_alpha(self.alpha)
        smoothing_checks.check_graph(self.kernel, self.bandwidth, self.neighbors, None)
        if self.iterations is not None:
            require_steps("iterations", self.iterations)
        if self.solver is not None:
            smoothing_checks.check_solver(self.solver, self.neighbors)

    def smoother(self, images: tf.Tensor) -> Smoother:
        """The operator on these images, `[B, H, W, C]`."""
        products = iterations_for(self.alpha, _PRECISION)
        solver = self.solver or smoothing_checks.default_solver(self.neighbors)
        # A step of the checkerboard, which four neighbours allow, is worth two.
        worth = 2 if solver == "checkerboard" else 1
        return Smoother(
            images,
            self.alpha,
            self.iterations or math.ceil(products / worth),
            kernel=self.kernel,
            bandwidth=self.bandwidth,
            neighbors=self.neighbors,
            solver=solver,
        )


@register("smooth_pgd", title="sPGD")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SmoothPGD(_Smooth, PGD):
    """PGD along gradients that were smoothed first; sPGD2 is the one with `norm=2`.

    Everything else is `PGD`: each gradient passes through the smoothing of its image
    before it is normalised. Projection and the range of a pixel come after, so that
    the perturbation is as smooth as they leave it; smoothing may push pixels against
    their bounds again, where they are clipped. With `alpha=0` this is PGD.

    Attributes:
        norm: 2 or `"inf"`. In L1 a step changes single pixels, which is never smooth.
        random_start: Off unless asked for: a random start is noise, and the first
            success may be hardly more than that.
        alpha: How far to smooth, in [0, 1); the paper has 0.95 on MNIST and 0.997 on
            ImageNet.
        bandwidth: Of the kernel on pixel values: edges of the image much higher than
            this stop the smoothing.
        kernel: `"laplacian"` or `"gaussian"`.
        neighbors: 4 or 8.
        iterations: Steps of the solver; `None`: as many as leave an error of 5 %.
        solver: As for `smoothing.Smoother`. `"dense"` is the paper's inverse, computed
            beforehand, on MNIST (SMO-S4); `solver="cg", iterations=50` is its 50
            conjugate gradients on ImageNet (SMO-S6). `None`: the fastest.

    The other attributes are those of `PGD`.

    Smooths the gradient, as equation 12 has it. The authors' code smooths the sum of
    the steps taken so far, and scales it to the radius (SMO-R3).

    Raises:
        ValueError: If a setting is out of range.

    Reference: Zhang et al. 2020, Smooth Adversarial Examples, equation 12.

    Example:
        >>> images = tf.fill([1, 4, 4, 1], 0.5)
        >>> def model(x):  # looks at one pixel
        ...     return tf.stack([x[:, 1, 1, 0], tf.fill([tf.shape(x)[0]], 0.49)], -1)
        >>> attack = SmoothPGD(norm=2, eps=0.5)
        >>> result = attack(model, images, tf.constant([0]))
        >>> moved = (images - result.adversarial).numpy()[0, :, :, 0] > 0
        >>> bool(result.success[0]), bool(moved.all())  # its neighbors move along
        (True, True)
    """

    norms: ClassVar[tuple[float | str, ...]] = (2, "inf")

    random_start: bool = False

    def _direction(self, problem: Problem) -> Direction:
        smoother = self.smoother(problem.images)

        def smooth(gradient: tf.Tensor) -> tf.Tensor:
            # Smoothing would spread a NaN over the whole image.
            return smoother(tf.where(tf.math.is_finite(gradient), gradient, 0.0))

        return smooth


@register("smooth_cw", title="sC&W")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SmoothCarliniWagner(_Smooth, CarliniWagnerL2):
    """The attack of Carlini and Wagner over smooth perturbations: sC&W.

    Minimises `||r||^2 + c * max(confidence - margin(clip(x + r)), 0)` with
    `r = smooth(z)` over z, from z = 0, and searches c. Everything but the variable is
    `CarliniWagnerL2`. The authors' code minimises `||r||` and not its square (SMO-R2).

    Since the smoothing can be undone, every perturbation is within reach of some z:
    the more steps, the more alike the results of both attacks. What smoothing changes
    is the way there: smooth perturbations come first and cheaply. A `roughness_weight`
    makes the result itself smoother, at a larger distortion. What is kept is the least
    distorted success all the same.

    Attributes:
        alpha: As for `SmoothPGD`.
        bandwidth: As for `SmoothPGD`.
        kernel: As for `SmoothPGD`.
        neighbors: As for `SmoothPGD`.
        iterations: As for `SmoothPGD`; each solve begins where that of the last step
            ended, so that few do.
        learning_rate: Of Adam, in the units of z: a step of r is a smoothed, shorter
            one, so the rate is larger than for pixels.
        solver: As for `SmoothPGD`.
        roughness_weight: Times the quadratic form of r with the graph's Laplacian,
            `<r, (I - W) r>`, is added to the squared distortion. This is the penalty
            `mu sum_ij w_ij ||r_i / sqrt(d_i) - r_j / sqrt(d_j)||^2` of equation 14,
            which the paper considers and sets aside, d being the degrees: the weight is
            `2 mu / lambda`, as the whole is divided by lambda here and c is
            `1 / lambda`. With `alpha=0`, r is z itself and equation 14 is minimised as
            it stands; 0 is equation 18.
        space: Has no effect: what is moved is z.

    The other attributes are those of `CarliniWagnerL2`.

    Raises:
        ValueError: If a setting is out of range.

    Reference: Zhang et al. 2020, Smooth Adversarial Examples, equation 18.

    Example:
        >>> images = tf.fill([1, 4, 4, 1], 0.5)
        >>> def model(x):
        ...     return tf.stack([x[:, 1, 1, 0], tf.fill([tf.shape(x)[0]], 0.49)], -1)
        >>> result = SmoothCarliniWagner(steps=50)(model, images, tf.constant([0]))
        >>> bool(result.success[0]), bool(result.distortion[0] < 0.02)
        (True, True)
    """

    learning_rate: float = 0.2
    roughness_weight: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_not_negative("roughness_weight", self.roughness_weight)

    def _space(self, problem: Problem) -> Space:
        return Smoothed(
            problem.images, self.smoother(problem.images), self.roughness_weight
        )
