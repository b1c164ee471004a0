"""What a program makes of the machine, before TensorFlow looks at it."""

from __future__ import annotations

from tfrobust.cli.program import UsageError


def split_cpu(count: int) -> None:
    """Makes so many devices of the CPU, to rehearse a strategy without GPUs.

    To be called before anything else touches TensorFlow.

    Args:
        count: How many; 1 leaves the machine as it is.
    """
    if count > 1:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        device = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [device] * count)


def check_shared(batch_size: int, devices: int) -> None:
    """Raises `UsageError` if devices cannot share a batch alike.

    Args:
        batch_size: Images in it.
        devices: How many there are.

    Example:
        >>> check_shared(batch_size=128, devices=8)
    """
    if batch_size % devices:
        raise UsageError(
            f"--batch_size={batch_size} cannot be shared alike by {devices} devices; "
            f"choose a multiple of {devices}."
        )
