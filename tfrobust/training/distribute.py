"""Where training runs: one device, several, several machines, or a TPU."""

from __future__ import annotations

import os

import tensorflow as tf

from tfrobust.core.cluster import from_environment, is_chief_process

STRATEGIES = ("off", "auto", "mirrored", "multi_worker", "tpu")


def make_strategy(kind: str, tpu: str = "") -> tf.distribute.Strategy:
    """The `tf.distribute` strategy for one of the trainers' `--distribute` values.

    Args:
        kind: `"off"` (one device), `"mirrored"` (all GPUs of this machine, or all
            logical CPU devices where there is none), `"multi_worker"` (one process a
            machine, described by the environment variable `TF_CONFIG`), `"tpu"`, or
            `"auto"`, for what `find_kind` says.
        tpu: Name or address of the TPU; empty for the local one.

    Returns:
        The strategy; create network and `RobustModel` inside its `scope()`.

    Raises:
        ValueError: If `kind` is unknown, or `TF_CONFIG` cannot be understood.

    Example:
        >>> from tfrobust.training import make_strategy
        >>> make_strategy("off").num_replicas_in_sync
        1
    """
    if kind == "auto":
        kind = find_kind(tpu)
    if kind == "off":
        return tf.distribute.get_strategy()
    if kind == "mirrored":
        gpus = tf.config.list_logical_devices("GPU")
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if kind == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if kind == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    raise ValueError(
        f"`kind` must be one of {', '.join(STRATEGIES)}. Received: kind={kind!r}"
    )


def find_kind(tpu: str = "") -> str:
    """The kind of strategy that uses all there is.

    Several workers, if `TF_CONFIG` names them; or else a TPU, if one is named here or
    by the environment variable `TPU_NAME`; or else several GPUs, or logical CPU devices
    where there is no GPU; otherwise one device.

    Args:
        tpu: Name or address of a TPU, if there is one.

    Returns:
        One of `STRATEGIES`, but not `"auto"`.

    Raises:
        ValueError: If `TF_CONFIG` cannot be understood.

    Example:
        >>> from tfrobust.training import find_kind
        >>> find_kind()
        'off'
    """
    cluster = from_environment()
    if cluster is not None and len(cluster.addresses) > 1:
        return "multi_worker"
    if tpu or os.environ.get("TPU_NAME"):
        return "tpu"
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    return "mirrored" if len(devices) > 1 else "off"


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files and prints."""
    return is_single_process(strategy) or is_chief_process()


def is_single_process(strategy: tf.distribute.Strategy) -> bool:
    """Whether every replica lives in this process."""
    return not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
