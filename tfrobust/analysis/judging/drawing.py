"""Random images in a ball: spread over it, or at its edge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import traced
from tfrobust.analysis.judging.case import Case
from tfrobust.core.seeds import seeds_of

# A draw so many times as long as the ball is wide ends at its edge when projected.
_FAR = 1e3


def draws_of(case: Case, rows: np.ndarray) -> Callable[[int], tf.Tensor]:
    """Draws from the balls around some images, one for each image and number.

    Args:
        case: What is judged.
        rows: Indices of the images.

    Returns:
        From a number to images float32 `[M,H,W,C]` in [0, 1] and in their balls. Those
        of even numbers are uniform in the ball, those of odd ones at its edge: in
        L-infinity in the corners, in L1 where few pixels change.
    """
    images, threat = tf.gather(case.images, rows), case.threat
    shape, eps = tf.constant(list(images.shape[1:])), case.assault.eps

    def draw(number: tf.Tensor) -> tf.Tensor:
        seeds = seeds_of(images, case.assault.seed, number)
        delta = threat.constraint.random_start(shape, seeds, eps)
        edge = threat.constraint.project(_FAR * delta, eps)
        return threat.project(images, images + tf.where(number % 2 == 1, edge, delta))

    graph = traced(draw, tf.TensorSpec([], tf.int32))
    return lambda number: graph(tf.constant(number))
