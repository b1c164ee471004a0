"""Train on batches that do not divide by the replicas, on one device and on several.

Usage: `python uneven_run.py out.npz REPLICAS`. Every case of `CASES` that has so many
replicas is trained on one device and on them. Written are, as `case/replicas/name`,
what `fit` reported as `history/...`, what `evaluate` did as `evaluate/...`, and the
variables that each replica of the network holds as `0/...`, `1/...`.

Logical devices must be set up before TensorFlow starts, which is why this is a program
of its own.
"""

import sys
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfrobust import attacks, layers, pag, penalties, training

SHAPE, CLASSES, COUNT = (6, 6, 2), 3, 9
EPOCHS, MOMENTUM = 2, 0.5


class Case(NamedTuple):
    """What is trained, and how.

    Attributes:
        network: Makes it.
        arguments: Makes those of `compile`.
        batch_size: Of all replicas together.
        replicas: How many there are, beside a run on one device.
        weighted: Whether examples have weights.
        keras_fit: Whether Keras's own loop is used.
    """

    network: object
    arguments: object = dict
    batch_size: int = 4
    replicas: int = 2
    weighted: bool = False
    keras_fit: bool = False


def examples(count=COUNT, seed=0):
    """Images, labels and weights, some of them 0."""
    random = np.random.default_rng(seed)
    images = random.random((count, *SHAPE), np.float32)
    labels = random.integers(0, CLASSES, count)
    return images, labels, np.float32(random.integers(0, 3, count))


def convolutional():
    """Without a norm: each example's answer is its own."""
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.SpectralConv2D(3, 3),
            layers.CenteredSoftplus(5.0),
            keras.layers.MaxPool2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES, kernel_regularizer="l2"),
        ]
    )


def softmax():
    """One that ends in probabilities."""
    ending = keras.layers.Dense(CLASSES, activation="softmax")
    parts = [keras.Input(SHAPE), keras.layers.Conv2D(3, 3), keras.layers.Flatten()]
    return keras.Sequential([*parts, ending])


def whitened():
    """One that is NaN, forward and back, for an image of one color."""
    white = keras.layers.LayerNormalization(axis=[1, 2, 3], epsilon=0.0)
    return keras.Sequential([keras.Input(SHAPE), white, *convolutional().layers])


def plain_norm(synchronized=False):
    """Keras's norm after a convolution, whose statistics are derived by hand."""
    return normed(
        keras.layers.BatchNormalization(
            momentum=MOMENTUM, synchronized=synchronized, name="norm"
        )
    )


def our_norm(synchronized=False):
    """The same with the norm of the library."""
    return normed(
        layers.LipschitzBatchNormalization(
            momentum=MOMENTUM, synchronized=synchronized, name="norm"
        )
    )


def normed(norm):
    """A norm of the images themselves, then a network that does not matter."""
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            norm,
            keras.layers.Conv2D(3, 3, activation="gelu"),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES),
        ]
    )


def dense_norm(synchronized=False):
    """For Keras's own loop, where oneDNN's convolutions end over an empty batch."""
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.LipschitzBatchNormalization(
                momentum=MOMENTUM, synchronized=synchronized, name="norm"
            ),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES),
        ]
    )


def sgd():
    return keras.optimizers.SGD(0.05, momentum=0.9)


def attack(eps=0.1):
    return attacks.PGD(norm="inf", eps=eps, steps=2, random_start=False)


def means():
    images, labels, _ = examples(12, seed=5)
    labels = np.arange(12) % CLASSES
    return pag.ClassMean(images, labels, CLASSES)


def metrics():
    """Some that count, some that need every prediction, and a function."""
    return [
        "accuracy",
        keras.metrics.SparseTopKCategoricalAccuracy(2, name="top"),
        keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="ce"),
        largest,
    ]


def largest(targets, logits):
    """A mean over the batch already, which is NaN of an empty one."""
    return tf.reduce_mean(tf.reduce_max(logits, axis=-1) * 0.0 + 1.0)


def one_hot_metrics():
    """Of probabilities; F1 has no variables before it is used."""
    return [
        keras.metrics.AUC(name="auc"),
        keras.metrics.F1Score("macro", name="f1"),
        keras.metrics.Precision(name="precision"),
    ]


def of_logits(reduction):
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=reduction
    )


CASES = {
    "plain": Case(
        convolutional,
        lambda: {"metrics": metrics(), "weighted_metrics": ["acc"]},
    ),
    "gradient": Case(
        convolutional, lambda: {"penalties": [penalties.GradientNorm(0.1)]}, replicas=3
    ),
    "adversary": Case(
        convolutional, lambda: {"adversary": attack(), "steps_per_execution": 2}
    ),
    "trades": Case(
        convolutional,
        lambda: {"penalties": [penalties.Trades(6.0, attack()), penalties.Cure()]},
    ),
    "aligned": Case(
        convolutional,
        lambda: {
            "penalties": [penalties.GradientAlignment(means(), 0.4, exact=True)],
        },
    ),
    # Which rows a share is depends on the replicas, so that it moves none of them.
    "sum": Case(
        convolutional,
        lambda: {
            "loss": of_logits("sum"),
            "adversary": attack(0.0),
            "adversary_share": 0.5,
        },
        weighted=True,
        replicas=3,
    ),
    "scaled": Case(
        whitened,
        lambda: {
            "optimizer": keras.optimizers.LossScaleOptimizer(sgd()),
            "penalties": [penalties.WeightDecay(0.1)],
        },
    ),
    "eager": Case(softmax, lambda: {"run_eagerly": True}),
    "weighted": Case(
        convolutional,
        lambda: {
            "loss": of_logits("mean_with_sample_weight"),
            "metrics": metrics()[:3],
            "weighted_metrics": metrics()[1:3],
        },
        weighted=True,
    ),
    "probabilities": Case(
        softmax,
        lambda: {
            "loss": keras.losses.CategoricalCrossentropy(),
            "metrics": one_hot_metrics(),
        },
        replicas=3,
    ),
    "keras-norm": Case(plain_norm),
    "keras-norm-shared": Case(
        lambda: plain_norm(True), lambda: {"penalties": [penalties.GradientNorm(0.1)]}
    ),
    "our-norm": Case(our_norm),
    "our-norm-shared": Case(
        lambda: our_norm(True),
        lambda: {"penalties": [penalties.GradientNorm(0.1)]},
        replicas=3,
    ),
    "fit-norm": Case(dense_norm, keras_fit=True),
    "fit-norm-shared": Case(lambda: dense_norm(True), keras_fit=True),
}


def train(case, strategy):
    """What a case leaves under a strategy."""
    keras.utils.set_random_seed(5)
    with strategy.scope():
        network = case.network()
        model = network if case.keras_fit else training.RobustModel(network)
        arguments = case.arguments()
        if case.keras_fit:
            arguments = {"loss": of_logits("sum")}
        model.compile(**{"optimizer": sgd(), **arguments})
    images, labels, weights = examples()
    if isinstance(arguments.get("loss"), keras.losses.CategoricalCrossentropy):
        labels = keras.utils.to_categorical(labels, CLASSES)
    parts = (images, labels, weights) if case.weighted else (images, labels)
    batches = tf.data.Dataset.from_tensor_slices(parts).batch(case.batch_size)
    history = model.fit(batches, epochs=EPOCHS, verbose=0).history
    found = {f"history/{name}": value for name, value in history.items()}
    if not case.keras_fit:
        evaluated = model.evaluate(batches, verbose=0, return_dict=True)
        found |= {f"evaluate/{name}": value for name, value in evaluated.items()}
    for variable in network.variables:
        local = strategy.experimental_local_results(variable.value)
        for replica, value in enumerate(local):
            name = variable.path.removeprefix(f"{network.name}/")
            found[f"{replica}/{name}"] = value.numpy()
    return found


def main(out, replicas):
    """Train the cases and save what each leaves."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    each = [tf.config.LogicalDeviceConfiguration()] * int(replicas)
    tf.config.set_logical_device_configuration(cpu, each)
    tf.config.experimental.enable_op_determinism()
    strategies = tf.distribute.get_strategy(), training.make_strategy("mirrored")
    found = {}
    for name, case in CASES.items():
        if case.replicas != int(replicas):
            continue
        for strategy in strategies:
            for key, value in train(case, strategy).items():
                found[f"{name}/{strategy.num_replicas_in_sync}/{key}"] = value
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
