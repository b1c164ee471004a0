"""What an attack without a radius moves, and how that becomes an image."""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf

from tfrobust.attacks.problem import inward
from tfrobust.smoothing import Smoother

# How near to 0 and 1 a pixel comes in tanh space, times two. At the bounds themselves
# the change of variable has no slope and a pixel that starts there would never move,
# and a millionth away it takes 300 steps. This moves it by an eighth of an 8-bit level.
_NEAR = 1e-3


class Space(abc.ABC):
    """A change of variable: images in [0, 1] as a function of what is moved.

    `carry` is whatever a space wants to remember from one step to the next: a tensor or
    a tuple of them, each `[B, H, W, C]`.
    """

    @abc.abstractmethod
    def start(self, images: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """The variable that stands for the images themselves, and the first carry."""

    @abc.abstractmethod
    def to_image(self, variable: tf.Tensor, carry: Any) -> tuple[tf.Tensor, Any]:
        """The image `[B, H, W, C]` that a variable stands for."""

    def distortion(self, delta: tf.Tensor, carry: Any) -> tf.Tensor:
        """What is minimised beside the loss, `[B]`: the squared distance.

        Args:
            delta: How far the image is from the original.
            carry: From `to_image`.
        """
        return tf.reduce_sum(tf.square(delta), axis=[1, 2, 3])

    @abc.abstractmethod
    def to_gradient(
        self, variable: tf.Tensor, delta: tf.Tensor, slope: tf.Tensor, carry: Any
    ) -> tuple[tf.Tensor, Any]:
        """The gradient of distortion plus loss in the variable, `[B, H, W, C]`.

        Args:
            variable: Where.
            delta: How far its image is from the original.
            slope: Gradient of the loss in the image, finite.
            carry: From `to_image` at this variable.
        """

    def limit(self, variable: tf.Tensor) -> tf.Tensor:
        """The variable brought back to where it may be; anywhere, unless it is said."""
        return variable


class Clipped(Space):
    """The pixels themselves, brought back into [0, 1] after each step."""

    def start(self, images: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """The images."""
        return images, ()

    def to_image(self, variable: tf.Tensor, carry: Any) -> tuple[tf.Tensor, Any]:
        """The variable is the image."""
        return variable, carry

    def to_gradient(
        self, variable: tf.Tensor, delta: tf.Tensor, slope: tf.Tensor, carry: Any
    ) -> tuple[tf.Tensor, Any]:
        """Without what would lead a descent out of [0, 1]."""
        return -inward(-2.0 * delta - slope, variable), carry

    def limit(self, variable: tf.Tensor) -> tf.Tensor:
        """Into [0, 1]."""
        return tf.clip_by_value(variable, 0.0, 1.0)


class Tanh(Space):
    """`x = (tanh(w) + 1) / 2`, which never leaves (0, 1)."""

    def start(self, images: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """The inverse, of images held off the bounds."""
        return tf.atanh((2.0 * images - 1.0) * (1.0 - _NEAR)), ()

    def to_image(self, variable: tf.Tensor, carry: Any) -> tuple[tf.Tensor, Any]:
        """The change of variable."""
        return 0.5 * (tf.tanh(variable) + 1.0), carry

    def to_gradient(
        self, variable: tf.Tensor, delta: tf.Tensor, slope: tf.Tensor, carry: Any
    ) -> tuple[tf.Tensor, Any]:
        """Times the derivative of the change of variable."""
        derivative = 0.5 * (1.0 - tf.square(tf.tanh(variable)))
        return derivative * (2.0 * delta + slope), carry


class Smoothed(Space):
    """`x = clip(image + r)`, `r = smooth(z)`: perturbations that follow the image.

    The distortion that is minimised is that of r before it is clipped, as in equation
    18 of the paper. It also brings pixels back that have left [0, 1], of which the loss
    knows nothing.

    Solves begin where the last step's ended, since z moves little in a step.

    Args:
        images: float32 `[B, H, W, C]`, the originals.
        smoother: Of these images.
        roughness_weight: What is added to the squared norm of r: so many times its
            quadratic form with the graph's Laplacian, `<r, (I - W) r>`, which is half
            the sum of equation 14.
    """

    def __init__(
        self, images: tf.Tensor, smoother: Smoother, roughness_weight: float
    ) -> None:
        self._images, self._smoother = images, smoother
        self._roughness_weight = roughness_weight

    def start(self, images: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """No perturbation, and zeros for the solutions of both solves."""
        zeros = tf.zeros_like(images)
        return zeros, (zeros, zeros)

    def to_image(self, variable: tf.Tensor, carry: Any) -> tuple[tf.Tensor, Any]:
        """Smoothed, added, clipped."""
        solution = self._smoother.solve(variable, carry[0])
        moved = self._images + solution / self._smoother.of_ones
        return tf.clip_by_value(moved, 0.0, 1.0), (solution, carry[1])

    def distortion(self, delta: tf.Tensor, carry: Any) -> tf.Tensor:
        """Of the perturbation before it is clipped, with its roughness."""
        r = carry[0] / self._smoother.of_ones
        return tf.reduce_sum(r * self._weighed(r), axis=[1, 2, 3])

    def to_gradient(
        self, variable: tf.Tensor, delta: tf.Tensor, slope: tf.Tensor, carry: Any
    ) -> tuple[tf.Tensor, Any]:
        """Another solve, the matrix being symmetric."""
        r = carry[0] / self._smoother.of_ones
        moved = self._images + r
        outside = (moved < 0.0) | (moved > 1.0)
        gradient = 2.0 * self._weighed(r) + tf.where(outside, 0.0, slope)
        solution = self._smoother.solve(gradient / self._smoother.of_ones, carry[1])
        return solution, (carry[0], solution)

    def _weighed(self, r: tf.Tensor) -> tf.Tensor:
        """`(I + weight (I - W)) r`, half the gradient of the distortion."""
        if not self._roughness_weight:
            return r
        rough = r - self._smoother.graph.multiply(r)
        return r + self._roughness_weight * rough
