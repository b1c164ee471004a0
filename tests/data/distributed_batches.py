"""Write what the replicas of a strategy see of a pipeline; run by the tests.

Usage: `python distributed_batches.py out.npz` for two mirrored replicas, and
`python distributed_batches.py out.npz index port port` for one of two workers.
Logical devices and clusters must be set up before TensorFlow starts, which is why this
is a program of its own.
"""

import json
import os
import sys

import numpy as np
import tensorflow as tf


def make_strategy(index, ports):
    """Two replicas in this process, or one each in two workers."""
    if ports:
        cluster = {"worker": [f"localhost:{port}" for port in ports]}
        task = {"type": "worker", "index": index}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
        return tf.distribute.MultiWorkerMirroredStrategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def gathered(strategy, pipeline):
    """Per component, in alphabetical order, `(steps, local replicas, batch, ...)`."""
    steps = [
        [strategy.experimental_local_results(part) for part in tf.nest.flatten(element)]
        for element in strategy.experimental_distribute_dataset(pipeline)
    ]
    return [
        np.stack([np.stack(step[k]) for step in steps]) for k in range(len(steps[0]))
    ]


def main(out, index=None, *ports):
    """Save the batches of training and padded evaluation pipelines."""
    strategy = make_strategy(int(index or 0), ports)
    from tfrobust import data

    examples = data.make_shapes(50, seed=0)
    factors = np.arange(1, 4)[:, None, None, None]
    directions = (examples.images[:, None] * factors).astype(np.float16)
    if not ports:
        tf.config.experimental.enable_op_determinism()
    settings = dict(batch_size=8, seed=3, epochs=2, augment="crop_flip")
    train = data.train_pipeline(examples, **settings)
    named = data.train_pipeline(
        examples, **settings, with_index=True, directions=directions
    )
    test = data.eval_pipeline(examples, batch_size=8, pad=True)
    images, labels = gathered(strategy, train)
    directions, _, index, _ = gathered(strategy, named)
    test_images, test_labels, weights = gathered(strategy, test)
    np.savez(
        out,
        images=images,
        labels=labels,
        directions=directions,
        index=index,
        test_images=test_images,
        test_labels=test_labels,
        weights=weights,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
