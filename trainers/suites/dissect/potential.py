"""Adversarial examples of all images, whatever a model makes of them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrobust import attacks
from tfrobust.cli.loading import Loaded


def examples(
    model: Loaded,
    attack: attacks.Attack,
    natural: np.ndarray,
    labels: np.ndarray,
    adversarial: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    """The images after an attack, those that it gave back as they were attacked too.

    An attack leaves an image alone that the model has wrong from the start, and one
    that it does not make worse. The paper's tables and spectra are of all test images
    and their potential adversarial examples, fooled or not (DIS-S6): of such an image
    this is where the search ended. An attack without a radius has no such place.

    Args:
        model: The model.
        attack: The attack.
        natural: float32 `[N,H,W,C]` in [0, 1].
        labels: int `[N]`.
        adversarial: What a call of the attack returned, `[N,H,W,C]`.
        batch_size: Images at a time.

    Returns:
        float32 `[N,H,W,C]`.
    """
    same = np.flatnonzero((adversarial == natural).all(axis=(1, 2, 3)))
    if attack.budget is None or not len(same):
        return adversarial
    spec = tf.TensorSpec([None, *natural.shape[1:]], tf.float32)
    classes = tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[spec, classes], autograph=False)
    def perturb(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return attack.perturb(model.call, images, labels)

    moved = adversarial.copy()
    for start in range(0, len(same), batch_size):
        rows = same[start : start + batch_size]
        moved[rows] = perturb(natural[rows], labels[rows].astype(np.int32)).numpy()
    return moved
