"""What a program makes of the machine, before TensorFlow looks at it."""

from __future__ import annotations

import tensorflow as tf


def split_cpu(count: int) -> None:
    """Makes so many devices of the CPU, to rehearse a strategy without GPUs.

    To be called before anything else touches TensorFlow.

    Args:
        count: How many; 1 leaves the machine as it is.
    """
    if count > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        device = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [device] * count)
