"""Where auto-PGD starts: at random, on the edge of the ball."""

from __future__ import annotations

import tensorflow as tf

from tfrobust.attacks.constraints import from_norm
from tfrobust.core.seeds import drawn_shape, seeds_of
from tfrobust.core.vectors import by_largest_entry


def random_start(
    norm: float | str,
    images: tf.Tensor,
    eps: tf.Tensor,
    seed: int,
    run: tf.Tensor | int,
) -> tf.Tensor:
    """One draw for each image.

    L-infinity: uniform noise scaled until its largest entry is eps. L2: a uniform
    direction of length eps. L1: normal noise of variance 1, to be projected.

    Args:
        norm: 1, 2, `"inf"` or `math.inf`.
        images: float32 `[B,H,W,C]`. A draw depends on its own image alone.
        eps: float32 `[B]`.
        seed: In [0, 2**31).
        run: Number of the draw, in [0, 2**31).

    Returns:
        Perturbations, float32 `[B,H,W,C]`.

    Example:
        >>> image = tf.fill([1, 2, 2, 1], 0.5)
        >>> delta = random_start("inf", image, tf.constant([0.25]), seed=0, run=0)
        >>> float(tf.reduce_max(tf.abs(delta)))
        0.25
    """
    seeds = seeds_of(images, seed, run)
    shape = drawn_shape(images)
    if norm == 1:
        delta = tf.map_fn(
            lambda seed: tf.random.stateless_normal(shape, seed, alg="philox"),
            seeds,
            fn_output_signature=tf.float32,
        )
    else:
        constraint, radius = from_norm(norm), tf.reshape(eps, [-1, 1, 1, 1])
        inside = constraint.random_start(shape, seeds, 1.0)
        # What is uniform in the L2 ball has a uniform direction.
        scale = constraint.normalize if norm == 2 else by_largest_entry
        delta = radius * scale(inside)
    return tf.ensure_shape(delta, images.shape)
