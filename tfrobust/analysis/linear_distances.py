"""How far the decision boundary would be if a network were linear."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import (
    any_number,
    at_least_one,
    classes_of,
    compiled,
    gathered,
    in_batches,
)
from tfrobust.core.gradients import class_gradients, linearize
from tfrobust.settings import require, require_steps

# Norms of the gradient that go with the distance's.
_DUALS = {1: math.inf, 2: 2, "inf": 1}


def linear_distance(
    model: Any,
    images: Any,
    labels: Any = None,
    *,
    norm: int | str = 2,
    batch_size: int = 50,
    bounds: Any = None,
) -> np.ndarray:
    """Distance from each image to the decision boundary of the linearised network.

    `min_k (f_y - f_k) / |grad_x (f_y - f_k)|` over all classes k but the label y, the
    norm of the gradient being dual to the distance's: where the logits, continued as
    they begin, make another class as likely. It is one step of DeepFool.

    Args:
        model: As for an attack's call.
        images: `[N,H,W,C]` within the bounds in any form, N at least 1; with the
            labels, if they hold them.
        labels: int `[N]`.
        norm: 1, 2 or `"inf"`.
        batch_size: Images at a time. K passes back are one, of K times as many.
        bounds: The range of the pixels, as for an attack's call.

    Returns:
        float32 `[N]` in units of images in [0, 1]; 0 where the image is misclassified,
        infinite where no gradient leads to another class.

    Raises:
        ValueError: If images or labels are of a wrong shape, type or range, or a
            setting is out of range.

    Reference: Moosavi-Dezfooli et al. 2016, DeepFool, equation 8.

    Example:
        >>> def model(images):
        ...     total = tf.reduce_sum(images, axis=[1, 2, 3])
        ...     return tf.stack([total, 0.0 * total], axis=-1)
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> linear_distance(model, images, [0]).tolist()
        [1.0]
    """
    require(norm in _DUALS, "norm", norm, f"one of {tuple(_DUALS)}")
    require_steps("batch_size", batch_size)
    pixels, labels = gathered(images, labels, model, bounds, labeled=True)
    shown = at_least_one(pixels).images
    answers = tf.cast(tf.convert_to_tensor(labels), tf.int32)
    classes = classes_of(model, pixels)

    def distance(classifier: Any, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return _distance(classifier, images, labels, classes, norm)

    graph = compiled(
        model,
        pixels.bounds,
        shown,
        ("linear_distance", classes, norm),
        distance,
        any_number(shown),
        any_number(answers),
    )
    return in_batches(
        lambda rows: graph(shown[rows], answers[rows]), len(shown), batch_size
    )


def _distance(
    classifier: Any,
    images: tf.Tensor,
    labels: tf.Tensor,
    classes: int,
    norm: int | str,
) -> tf.Tensor:
    logits, pull = linearize(classifier, images)
    chosen = tf.broadcast_to(tf.range(classes), tf.shape(logits))
    gradients = class_gradients(pull, chosen, classes)
    leads = tf.gather(logits, labels[:, None], batch_dims=1) - logits
    slopes = tf.gather(gradients, labels[:, None], batch_dims=1) - gradients
    flat = tf.reshape(slopes, [-1, classes, math.prod(slopes.shape[2:])])
    steepness = tf.norm(flat, ord=_DUALS[norm], axis=-1)
    reachable = tf.where(steepness > 0.0, steepness, 1.0)
    distances = tf.where(steepness > 0.0, leads / reachable, math.inf)
    # Another class that is ahead already is there, whatever its slope.
    distances = tf.where(leads <= 0.0, 0.0, distances)
    own = tf.one_hot(labels, classes, on_value=True, off_value=False, dtype=tf.bool)
    return tf.reduce_min(tf.where(own, math.inf, distances), axis=-1)
