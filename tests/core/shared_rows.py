"""Rows shared by three replicas: `python shared_rows.py out.npz`.

Logical devices must be set up before TensorFlow starts, which is why this is a program
of its own.
"""

import sys

import numpy as np
import tensorflow as tf

REPLICAS = 3
COUNTS = (1, 2, 3, 7)


def main(out):
    """Which replica saw which row, for batches of every kind, and a gradient."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    )
    from tfrobust.attacks import BlackBox
    from tfrobust.core.classifier import as_classifier
    from tfrobust.core.replicas import graph_of_rows, sharing_strategy

    def seen(rows, numbers, nothing):
        assert nothing is None
        context = tf.distribute.get_replica_context()
        place = -1 if context is None else context.replica_id_in_sync_group
        places = tf.fill(tf.shape(numbers), tf.cast(place, tf.int32))
        return {"row": rows * rows, "seen": (places, numbers)}

    specs = tf.TensorSpec([None, 2]), tf.TensorSpec([None], tf.int32), None
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(REPLICAS)])
    results = {"outside": sharing_strategy() is None}
    with strategy.scope():
        results["inside"] = sharing_strategy() is strategy
        graph = graph_of_rows(seen, *specs)
        alone = graph_of_rows(seen, *specs, shared=False)
        asked = []
        box = BlackBox(lambda images: asked.append(len(images)) or images[:, 0, 0, :])
        as_classifier(box)(tf.zeros([5, 1, 1, 2]))
    results["asked"] = asked[-1]
    for count in COUNTS:
        rows = tf.reshape(tf.range(2.0 * count), [count, 2])
        with tf.GradientTape() as tape:
            tape.watch(rows)
            found = graph(rows, tf.range(count), None)
        results[f"{count}/slopes"] = tape.gradient(found["row"], rows)
        results[f"{count}/rows"] = found["row"]
        results[f"{count}/places"], results[f"{count}/numbers"] = found["seen"]
        places, _ = alone(rows, tf.range(count), None)["seen"]
        results[f"{count}/alone"] = places
    np.savez(out, **results)


if __name__ == "__main__":
    main(sys.argv[1])
