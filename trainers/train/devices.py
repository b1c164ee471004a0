"""Which devices a run has, and how it uses them."""

from __future__ import annotations

import dataclasses
import os

import keras
import tensorflow as tf

from tfrobust import training
from tfrobust.cli.program import UsageError
from tfrobust.core.cluster import Cluster
from trainers.train.options import TrainConfig


def resolved(config: TrainConfig, cluster: Cluster | None) -> TrainConfig:
    """The settings with a kind of strategy in place of `--distribute=auto`.

    Several workers, or else a TPU (`--tpu`, or `TPU_NAME` in the environment), or else
    several GPUs or `--logical_cpus`; otherwise one device.

    Raises `UsageError` if other flags do not allow what that is.
    """
    if config.distribute != "auto":
        return config
    kind = "multi_worker" if cluster is not None else _kind_of_machine(config)
    config = dataclasses.replace(config, distribute=kind)
    config.check()
    return config


def _kind_of_machine(config: TrainConfig) -> str:
    if config.tpu or os.environ.get("TPU_NAME"):
        return "tpu"
    gpus = tf.config.list_physical_devices("GPU")
    return "mirrored" if max(len(gpus), config.logical_cpus) > 1 else "off"


def prepare(config: TrainConfig) -> tf.distribute.Strategy:
    """Devices, determinism and seed; before anything else touches TensorFlow."""
    if config.logical_cpus > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        device = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [device] * config.logical_cpus)
    try:
        strategy = training.make_strategy(config.distribute, config.tpu)
    except ValueError as error:
        raise UsageError(f"--distribute={config.distribute}: {error}") from error
    # Unequal shares would weigh the images of one device more than another's.
    if config.batch_size % strategy.num_replicas_in_sync:
        raise UsageError(
            f"--batch_size={config.batch_size} cannot be shared alike by "
            f"{strategy.num_replicas_in_sync} devices."
        )
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        training.enable_determinism()
    return strategy
