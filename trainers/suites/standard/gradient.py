"""Whether gradient attacks can be run on a model."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrobust.cli.loading import Loaded
from tfrobust.core.classifier import as_classifier
from tfrobust.core.differentiable import missing_gradient, require_gradient


def why_no_gradient(model: Loaded, images: np.ndarray) -> str:
    """Why no gradient leads from a model's answer to its images; empty if one does.

    Args:
        model: The model.
        images: float32 `[B,H,W,C]`, of which the shape is looked at.
    """
    classifier = as_classifier(model.call)

    def gradient(points: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            logits = classifier(points)
        require_gradient(points, logits)
        found = tape.gradient(logits, points)
        if found is None:
            raise missing_gradient(classifier, points)
        return found

    spec = tf.TensorSpec(images.shape, tf.float32)
    try:
        tf.function(gradient, autograph=False).get_concrete_function(spec)
    except ValueError as error:
        return str(error)
    return ""
