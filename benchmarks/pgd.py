"""Claim: PGD-20 on ResNet-18 costs at most 1.05 times 20 bare gradients.

    python -m benchmarks.pgd --width=16 --batch_size=100 --rounds=5
    python -m benchmarks.pgd --model=model.keras --dataset=cifar10 --data_dir=DIR

Bare is one graph that loops 20 times over what no attack can do without: the logits and
the gradient of the summed cross-entropy in the pixels, of the same network and batch.
It takes turns with three ways of running the attack, for each norm:

- `perturb`: the search alone, as adversarial training runs it. Every gradient is taken.
- `every gradient`: a call with `early_stop=False` on images that the network classifies
  as labelled, so that none drops out. The verdict adds forward passes: of the clean,
  the last, the adversarial and the rounded images.
- `call`: a call as it comes, where an image that is fooled or misclassified drops out.
  How much this saves hangs on the network. Labels are the real ones with `--model`.

Without `--model` the network is untrained, the images are noise, and the labels are the
network's own answers. What is compared is each round's ratio to the bare gradients of
the same round, so that a busy neighbour slows both; CPU seconds (user and system time
of the process) depend less on what else the machine is doing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from benchmarks.reports import Parser, Report, need_data, start
from benchmarks.turns import Run, alternate, rows
from tfrobust import attacks, data, models

_NORMS: dict[str, tuple[str | float, float]] = {"inf": ("inf", 8 / 255), "2": (2, 0.5)}
# Makes each gradient depend on the one before, or the loop would be hoisted; too small
# to move a pixel.
_NUDGE = 1e-12
_QUICK = {"width": 4, "batch_size": 8, "steps": 5, "rounds": 2}


def main(argv: Sequence[str] | None = None) -> Report:
    """Times bare gradients and attacks in turn, with a table for each norm."""
    arguments, report = _parse(argv)
    network, images, labels = _load(arguments)
    for norm in arguments.norms:
        runs = _runs(network, images, labels, norm, arguments.steps)
        report.table(
            f"L{norm}: {_title(arguments)}, batch {arguments.batch_size}, "
            f"{arguments.steps} steps, {arguments.rounds} rounds",
            rows(list(runs), alternate(list(runs.values()), arguments.rounds)),
            key=f"L{norm}",
            claimed={"perturb": 1.05},
        )
    return report


def _title(arguments: argparse.Namespace) -> str:
    return arguments.model or f"ResNet-18, width {arguments.width}, untrained"


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Report]:
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--norms", nargs="+", choices=_NORMS, default=list(_NORMS))
    parser.add_argument("--model", help="a trained network, a .keras file")
    parser.add_argument("--dataset", default="cifar10", help="its test images")
    parser.add_data_dir()
    return parser.parse(argv)


def _load(
    arguments: argparse.Namespace,
) -> tuple[keras.Model, tf.Tensor, tf.Tensor]:
    """The network, and a batch of images with their labels."""
    count = arguments.batch_size
    if arguments.model:
        need_data(arguments.dataset, arguments.data_dir)
        network = keras.saving.load_model(arguments.model, compile=False)
        test = data.load(arguments.dataset, "test", arguments.data_dir).take(count)
        images = tf.cast(test.images, tf.float32) / 255.0
        return network, images, tf.constant(test.labels)
    keras.utils.set_random_seed(0)
    network = models.ResNet18((32, 32, 3), 10, width=arguments.width)
    random = np.random.default_rng(0)
    images = tf.constant(random.random([count, 32, 32, 3]), tf.float32)
    return network, images, _answers(network, images)


def _answers(network: keras.Model, images: tf.Tensor) -> tf.Tensor:
    return tf.argmax(network(images, training=False), axis=-1, output_type=tf.int32)


def _runs(
    network: keras.Model, images: tf.Tensor, labels: tf.Tensor, norm: str, steps: int
) -> dict[str, Run]:
    """The bare gradients, and each way of running the attack."""
    name, eps = _NORMS[norm]
    attack = attacks.PGD(norm=name, eps=eps, steps=steps)
    patient = attacks.PGD(norm=name, eps=eps, steps=steps, early_stop=False)
    answers = _answers(network, images)

    @tf.function(autograph=False)
    def perturb(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return attack.perturb(network, images, labels)

    return {
        "bare gradients": _bare(network, images, labels, steps),
        "perturb": lambda: perturb(images, labels).numpy(),
        "every gradient": lambda: patient(network, images, answers).success.numpy(),
        "call": lambda: attack(network, images, labels).success.numpy(),
    }


def _bare(
    network: keras.Model, images: tf.Tensor, labels: tf.Tensor, steps: int
) -> Run:
    """`steps` gradients of the summed cross-entropy, one after the other."""

    def step(number: tf.Tensor, points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            logits = network(points, training=False)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            total = tf.reduce_sum(loss)
        return number + 1, points + _NUDGE * tape.gradient(total, points)

    @tf.function(autograph=False)
    def loop(points: tf.Tensor) -> tf.Tensor:
        start = (tf.constant(0), points)
        condition = lambda number, _points: number < steps  # noqa: E731
        return tf.while_loop(condition, step, start, parallel_iterations=1)[1]

    return lambda: loop(images).numpy()


if __name__ == "__main__":
    start(main)
