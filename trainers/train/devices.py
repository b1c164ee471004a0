"""Which devices a run has, and how it uses them."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from tfrobust import training
from tfrobust.cli.devices import check_shared, split_cpu
from tfrobust.cli.program import UsageError
from trainers.train.options import TrainConfig


def resolved(config: TrainConfig) -> TrainConfig:
    """The settings with a kind of strategy in place of `--distribute=auto`.

    Splits the CPU as they say, too, which must come before TensorFlow counts devices.
    Raises `UsageError` if other flags do not allow what is found.
    """
    split_cpu(config.logical_cpus)
    if config.distribute == "auto":
        kind = training.find_kind(config.tpu)
        config = dataclasses.replace(config, distribute=kind)
        config.check()
    return config


def prepare(config: TrainConfig) -> tf.distribute.Strategy:
    """Strategy, determinism and seed; before anything else touches TensorFlow."""
    try:
        strategy = training.make_strategy(config.distribute, config.tpu)
    except ValueError as error:
        raise UsageError(f"--distribute={config.distribute}: {error}") from error
    # Unequal shares would weigh the images of one device more than another's.
    check_shared(config.batch_size, strategy.num_replicas_in_sync)
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        training.enable_determinism()
    return strategy
