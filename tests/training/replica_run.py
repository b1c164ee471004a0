"""Train small networks on one device, on two replicas or as one of two workers.

Usage: `python replica_run.py out.npz CASES one`, the same with `mirrored`, and
`python replica_run.py out.npz CASES worker INDEX PORT PORT`, with CASES separated by
commas. Written are, as `case/replica/name`, all variables that each replica of this
process holds after training, and, as `case/history/name`, what `fit` reported.

Logical devices and clusters must be set up before TensorFlow starts, which is why this
is a program of its own.
"""

import json
import os
import sys

import keras
import numpy as np
import tensorflow as tf

from tfrobust import attacks, data, layers, models, pag, penalties, training
from tfrobust.models.parts import Parts

BATCH, STEPS, CLASSES = 16, 10, 4
# The rate decides what a comparison of weights can show. Rounding alone changes this
# network's gradients by up to 2e-3 of themselves, as one device shows when the rows of
# its batches are permuted: the standard activation bends a thousand times as sharply
# as a softplus. At 0.01 ten steps turn that into a few per cent of the weights. At 1e-5
# the weights keep six digits, and the momentum is what tells a wrong gradient.
LEARNING_RATE = 1e-5


def make_strategy(mode, index, ports):
    """No strategy, two replicas in this process, or one each in two workers."""
    if mode == "one":
        return training.make_strategy("off")
    if mode == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        return training.make_strategy("mirrored")
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    return training.make_strategy("multi_worker")


def small_shapes(count, seed):
    """Four classes of drawn shapes at 8x8."""
    shapes = data.make_shapes(count, seed)
    images = shapes.images.reshape(count, 8, 4, 8, 4, 3).mean((2, 4)).astype(np.uint8)
    return data.Dataset("small", images, shapes.labels % CLASSES, tuple("abcd"))


def network(variant, synchronized=True):
    """The parts of a ResNet: convolutions with norms, strides, a shortcut, a pool."""
    parts = Parts(variant=variant, synchronized=synchronized)
    images = keras.Input((8, 8, 3))
    stem = parts.convolution_block(images, 2, "stem")
    branch = parts.convolution_block(stem, 4, "branch", strides=2)
    branch = parts.norm(parts.convolution(branch, 4, 3, 1, "last"), "last_norm")
    shortcut = parts.norm(parts.convolution(stem, 4, 1, 2, "short"), "short_norm")
    x = parts.activation(keras.layers.Average()([branch, shortcut]), "activation")
    x = parts.convolution_block(x, 8, "top", strides=2)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, parts.dense(x, CLASSES, "logits"))


def normed_mlp():
    """One norm of the library, whose replicas do not share the batch's statistics."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Flatten(),
            layers.SpectralDense(5),
            layers.LipschitzBatchNormalization(),
            layers.CenteredSoftplus(),
            layers.SpectralDense(CLASSES),
        ]
    )


def sgd():
    return keras.optimizers.SGD(LEARNING_RATE, momentum=0.9)


def compiled(case):
    """The model of a case, from the same seed in every process."""
    keras.utils.set_random_seed(5)
    decay, curvature = penalties.WeightDecay(5e-4), penalties.Curvature(1e-2, 1e-2)
    if case == "standard":
        model = training.RobustModel(network("standard"))
        model.compile(sgd(), penalties=[decay])
    elif case == "unsynchronized":
        model = training.RobustModel(network("standard", synchronized=False))
        model.compile(sgd(), penalties=[decay])
    elif case == "lcnn":
        model = training.RobustModel(network("lcnn"))
        model.compile(sgd(), penalties=[decay, curvature])
    elif case == "gradreg":
        model = training.RobustModel(network("lcnn"))
        model.compile(
            sgd(), penalties=[decay, curvature, penalties.GradientNorm(6.1e-3)]
        )
    elif case == "adversary":
        model = training.RobustModel(models.MLP((8, 8, 3), CLASSES, "lcnn", (6,)))
        attack = attacks.PGD(norm="inf", eps=0.1, steps=2)
        model.compile(sgd(), penalties=[decay], adversary=attack, steps_per_execution=4)
    elif case == "aligned":
        model = training.RobustModel(models.MLP((8, 8, 3), CLASSES, "lcnn", (6,)))
        cached = pag.CachedDirections(directions())
        # The random signs of the default differ from replica to replica.
        model.compile(
            sgd(), penalties=[penalties.GradientAlignment(cached, 0.4, exact=True)]
        )
    elif case == "aligned-normed":
        # Statistics shared by the replicas, in every pass back to the image.
        model = training.RobustModel(network("standard"))
        images = np.random.default_rng(6).random((2 * CLASSES, 8, 8, 3), np.float32)
        labels = np.arange(2 * CLASSES) % CLASSES
        means = pag.ClassMean(images, labels, CLASSES)
        model.compile(sgd(), penalties=[penalties.GradientAlignment(means, 0.4)])
    elif case == "averaged":
        model = training.RobustModel(normed_mlp())
        model.compile(sgd())
    elif case == "overflow":
        keras.config.set_dtype_policy("mixed_float16")
        model = training.RobustModel(models.MLP((8, 8, 3), CLASSES, "lcnn", (6,)))
        keras.config.set_dtype_policy("float32")
        model.compile(keras.optimizers.LossScaleOptimizer(sgd()))
    return model


def directions():
    """Of every image and class, as a teacher's would be."""
    shape = STEPS * BATCH, CLASSES, 8, 8, 3
    return np.random.default_rng(4).uniform(-1, 1, shape).astype(np.float16)


def batches(case):
    """Ten global batches. In "overflow" the third one's last row weighs too much."""
    pipeline = data.train_pipeline(
        small_shapes(STEPS * BATCH, seed=1),
        batch_size=BATCH,
        seed=3,
        epochs=1,
        augment="crop_flip" if case == "aligned" else None,
        with_index=case == "aligned",
        directions=directions() if case == "aligned" else None,
    )
    if case != "overflow":
        return pipeline
    images, labels = (np.concatenate(part) for part in zip(*pipeline, strict=True))
    weights = np.ones(len(labels), np.float32)
    weights[3 * BATCH - 1] = 1e20
    return tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(
        BATCH, drop_remainder=True
    )


def train(case, strategy):
    """What a case leaves behind."""
    with strategy.scope():
        model = compiled(case)
    callbacks = []
    if case == "adversary":
        callbacks.append(training.RefreshSpectralNorms())
        if training.is_single_process(strategy):
            watched = small_shapes(10, seed=9)
            images = watched.images / np.float32(255)
            callbacks.append(training.WatchGradientNorm(images, watched.labels))
    # The last of three evaluation batches holds 5 examples: 8 + 8, 8 + 8, 5 + 0.
    test = data.eval_pipeline(small_shapes(37, seed=2), batch_size=BATCH, pad=True)
    history = model.fit(
        batches(case), validation_data=test, callbacks=callbacks, verbose=0
    )
    found = {f"{case}/history/{name}": value for name, value in history.history.items()}
    for variable in [*model.network.variables, *model.optimizer.variables]:
        local = strategy.experimental_local_results(variable.value)
        for replica, value in enumerate(local):
            found[f"{case}/{replica}/{variable.path}"] = value.numpy()
    return found


def main(out, cases, mode, index=0, *ports):
    """Train every case and save what each leaves."""
    strategy = make_strategy(mode, int(index), ports)
    if mode != "worker":
        tf.config.experimental.enable_op_determinism()
    found = {}
    for case in cases.split(","):
        found.update(train(case, strategy))
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
