"""Training steps to be timed."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from benchmarks.turns import Run
from tfrobust import attacks, penalties
from tfrobust.training import RobustModel


def random_batch(
    batch_size: int, shape: tuple[int, int, int] = (32, 32, 3), classes: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise and labels."""
    random = np.random.default_rng(0)
    images = random.random([batch_size, *shape], dtype=np.float32)
    return images, random.integers(0, classes, batch_size).astype(np.int32)


def training_step(
    network: keras.Model,
    terms: Sequence[penalties.Penalty] = (),
    adversary: attacks.Attack | None = None,
    batch_size: int = 128,
) -> Run:
    """One update of a network on one batch, by momentum and with weight decay."""
    model = RobustModel(network)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(
        optimizer, penalties=[*terms, penalties.WeightDecay()], adversary=adversary
    )
    batch = random_batch(batch_size, network.input_shape[1:], network.output_shape[-1])
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    train = model.make_train_function()
    return lambda: train(iterator)["loss"].numpy()
