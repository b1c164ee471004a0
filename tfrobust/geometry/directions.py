"""Random directions around each image, the same in every batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfrobust.core.seeds import seeds_of
from tfrobust.core.vectors import unit


def check_radii(radii: float | Sequence[float]) -> list[float]:
    """Radii as a list of floats.

    Args:
        radii: One or more.

    Raises:
        ValueError: If there is none, or one is not positive and finite.

    Example:
        >>> check_radii(0.5)
        [0.5]
    """
    values = np.ravel(np.asarray(radii, np.float64))
    if values.size == 0 or not np.all((values > 0) & np.isfinite(values)):
        raise ValueError(
            "`radii` must be positive finite numbers, at least one. "
            f"Received: radii={radii}"
        )
    return values.tolist()


def over_directions(
    measure: Callable[[tf.Tensor], tf.Tensor],
    images: tf.Tensor,
    radii: tf.Tensor,
    samples: int,
    seed: int,
) -> tf.Tensor:
    """The mean of a measure of displacements over random directions, for each radius.

    The directions of an image are uniform on the sphere, the same for every radius, and
    depend on the image and `seed` alone.

    Args:
        measure: Maps displacements `[B,...]`, shaped as the images, to `[B]`.
        images: float32 `[B,...]`.
        radii: float32 `[R]`, the norms of the displacements.
        samples: Directions for each image.
        seed: Of the directions.

    Returns:
        float32 `[R,B]`, without a gradient.

    Example:
        >>> images, radii = tf.zeros([3, 4]), tf.constant([0.5, 2.0])
        >>> sizes = over_directions(lambda d: tf.norm(d, axis=1), images, radii, 2, 0)
        >>> bool(tf.reduce_all(tf.abs(sizes - radii[:, None]) < 1e-5))
        True
    """

    def of_sample(sample: tf.Tensor) -> tf.Tensor:
        """`[R, B]`, along one direction for each image."""
        direction = _directions(images, seeds_of(images, seed, sample))
        return tf.map_fn(
            lambda radius: measure(radius * direction), radii, parallel_iterations=1
        )

    values = tf.map_fn(
        of_sample,
        tf.range(samples, dtype=tf.int64),
        fn_output_signature=tf.float32,
        parallel_iterations=1,
    )
    mean = tf.stop_gradient(tf.reduce_mean(values, axis=0))
    return tf.ensure_shape(mean, [radii.shape[0], images.shape[0]])


def _directions(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """A unit vector for each image, uniform on the sphere."""
    shape = tf.shape(images)[1:]

    def draw(seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_normal(shape, seed, alg="philox")

    drawn = tf.map_fn(draw, seeds, fn_output_signature=tf.float32)
    return unit(tf.ensure_shape(drawn, images.shape))
