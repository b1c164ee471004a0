"""Attack in the scope of a strategy: `python shared_attack.py REPLICAS out.npz`.

Written is what `attacks.evaluate` finds outside of it, under `one/`, and in it, under
`shared/`. Logical devices must be set up before TensorFlow starts, which is why this is
a program of its own.
"""

import sys

import numpy as np
import tensorflow as tf

NAMES = (
    "pgd-linf",
    "pgd-l2",
    "apgd-linf",
    "apgd-classes",
    "autoattack",
    "square-linf",
    "fab-l2",
)
# Equal bit for bit: steps along signs, and none along gradients.
EXACT = ("pgd-linf", "apgd-linf", "square-linf")
ARRAYS = (
    "success",
    "success_rounded",
    "already",
    "queries",
    "distortion",
    "distortion_rounded",
    "adversarial",
    "broken_by",
)
# Batches of 7, 7 and 1 image, which is fewer than there are replicas.
COUNT, BATCH_SIZE = 15, 7


def found(network, images, labels):
    """Every array of every attack by `attack/array`, and `clean_correct`."""
    from tests.attacks.every import ATTACKS
    from tfrobust import attacks

    chosen = {name: ATTACKS[name] for name in NAMES}
    evaluation = attacks.evaluate(
        network, (images, labels), chosen, batch_size=BATCH_SIZE, keep_images=True
    )
    arrays = {"clean_correct": evaluation.clean_correct}
    for name, outcome in evaluation.results.items():
        for array in ARRAYS:
            if (values := getattr(outcome, array)) is not None:
                arrays[f"{name}/{array}"] = values
    return arrays


def main(replicas, out):
    """The same network, with a copy for each replica, in both cases."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * replicas
    )
    # Their networks start TensorFlow.
    from tests.attacks import common, every

    images, labels = every.some_images(COUNT)
    devices = [f"CPU:{place}" for place in range(replicas)]
    strategy = tf.distribute.MirroredStrategy(devices)
    with strategy.scope():
        network = common.build_convnet()
        shared = found(network, images, labels)
    one = found(network, images, labels)
    results = {f"one/{name}": values for name, values in one.items()}
    results |= {f"shared/{name}": values for name, values in shared.items()}
    np.savez(out, **results)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
