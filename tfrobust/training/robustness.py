"""Robust overfitting: accuracy under attack, followed in training.

In adversarial training the accuracy under attack of images that were not trained on
peaks soon after the first drop of the learning rate, then falls, while everything else
improves (Rice et al. 2020, https://arxiv.org/abs/2002.11569). `KeepBest` keeps it.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrobust.attacks.base import Attack
from tfrobust.settings import require_steps


class WatchRobustAccuracy(keras.callbacks.Callback):
    """Adds `val_robust_accuracy` to the epoch's logs: what an attack leaves correct.

    List it before the callbacks that write logs. The attack changes nothing about the
    training: the run is the same, bit for bit, with and without it.

    Images that decide which epoch is kept must be no test images, or the test is no
    longer one; hold some of the training images out.

    Args:
        attack: The attack, such as `attacks.PGD`; early stopping makes it cheaper.
        images: float32 `[N,H,W,C]` in [0, 1], N at least 1.
        labels: int `[N]`.
        every: Attack after each so many epochs, and after the last one; the epochs
            between have no such entry.
        batch_size: Images attacked at once.

    Raises:
        ValueError: If there is no image, or a number is out of range.

    Example:
        >>> import numpy as np
        >>> from tfrobust import attacks
        >>> from tfrobust.training import WatchRobustAccuracy
        >>> images = np.zeros((2, 8, 8, 3), "float32")
        >>> callback = WatchRobustAccuracy(attacks.FGSM(eps=0.1), images, [0, 1])
    """

    def __init__(
        self,
        attack: Attack,
        images: Any,
        labels: Any,
        every: int = 1,
        batch_size: int = 128,
    ) -> None:
        super().__init__()
        require_steps("every", every)
        require_steps("batch_size", batch_size)
        if not len(images):
            raise ValueError("`images` must hold at least one image. Received: none")
        self.attack = attack
        self.every = every
        self.batches = tf.data.Dataset.from_tensor_slices(
            (images, tf.cast(labels, tf.int32))
        ).batch(batch_size)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        is_last = epoch + 1 == self.params.get("epochs")
        if logs is None or ((epoch + 1) % self.every and not is_last):
            return
        fooled = [self.attack(self.model, *batch).success for batch in self.batches]
        held = tf.cast(~tf.concat(fooled, axis=0), tf.float64)
        logs["val_robust_accuracy"] = float(tf.reduce_mean(held))
