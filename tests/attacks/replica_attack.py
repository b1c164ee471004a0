"""Attack a batch on two replicas: `python replica_attack.py out.npz`.

Written are the adversarial images of every attack in `every.py`, and the
number of replicas. Logical devices must be set up before TensorFlow starts, which is
why this is a program of its own.
"""

import sys

import numpy as np
import tensorflow as tf


def main(out):
    """Every attack inside `strategy.run`, half of the images on each replica."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    # Their networks start TensorFlow.
    from tests.attacks import common, every

    # Labels come from the network, so the images are made outside of the strategy.
    images, labels = every.some_images()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        network = common.build_convnet()
    results = {"replicas": strategy.num_replicas_in_sync}
    half = len(images) // 2

    def part(array):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                array[context.replica_id_in_sync_group * half :][:half]
            )
        )

    for name, attack in every.ATTACKS.items():

        @tf.function
        def step(images, labels, attack=attack):
            return strategy.run(
                lambda *batch: attack(network, *batch).adversarial, (images, labels)
            )

        parts = strategy.experimental_local_results(step(part(images), part(labels)))
        results[name] = np.concatenate([piece.numpy() for piece in parts])
    np.savez(out, **results)


if __name__ == "__main__":
    main(sys.argv[1])
