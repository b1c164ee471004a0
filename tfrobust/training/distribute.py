"""Where training runs: one device, several, several machines, or a TPU."""

from __future__ import annotations

import tensorflow as tf

from tfrobust.core.cluster import is_chief_process

STRATEGIES = ("off", "mirrored", "multi_worker", "tpu")


def make_strategy(kind: str, tpu: str = "") -> tf.distribute.Strategy:
    """The `tf.distribute` strategy for one of the trainers' `--distribute` values.

    Args:
        kind: `"off"` (one device), `"mirrored"` (all GPUs of this machine, or all
            logical CPU devices where there is none), `"multi_worker"` (one process a
            machine, described by the environment variable `TF_CONFIG`), or `"tpu"`.
        tpu: Name or address of the TPU; empty for the local one.

    Returns:
        The strategy; create network and `RobustModel` inside its `scope()`.

    Raises:
        ValueError: If `kind` is unknown.

    Example:
        >>> from tfrobust.training import make_strategy
        >>> make_strategy("off").num_replicas_in_sync
        1
    """
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


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files and prints."""
    return is_single_process(strategy) or is_chief_process()


def is_single_process(strategy: tf.distribute.Strategy) -> bool:
    """Whether every replica lives in this process."""
    return not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
