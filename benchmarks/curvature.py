"""Claim: a Hessian norm by 10 iterations costs at most 1.1 times 10 bare products.

    python -m benchmarks.curvature --width=16 --batch_size=32 --rounds=8

A bare product is one graph from images and a vector to the Hessian times that vector,
by backpropagation through backpropagation. The two sides take turns, and what is
compared is each round's ratio, so that a busy neighbour slows both. It can come out
well below 1: the power iteration runs the forward pass and the gradient once for all
its products, and ten bare products run them ten times.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from benchmarks.reports import Parser, Report, start
from benchmarks.turns import Run, alternate, rows
from tfrobust import geometry, models

_QUICK = {"width": 4, "batch_size": 4, "rounds": 2}


def main(argv: Sequence[str] | None = None) -> Report:
    """Times both sides in turn."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--variant", choices=("standard", "lcnn"), default="lcnn")
    arguments, report = parser.parse(argv)
    keras.utils.set_random_seed(0)
    network = models.ResNet18((32, 32, 3), 10, arguments.variant, arguments.width)
    random = np.random.default_rng(0)
    shape = (arguments.batch_size, 32, 32, 3)
    images = tf.constant(random.random(shape), tf.float32)
    labels = tf.constant(random.integers(0, 10, arguments.batch_size), tf.int32)
    count = arguments.iterations
    sides = (
        _bare_products(network, images, labels, count),
        lambda: geometry.hessian_norm(network, images, labels, count).numpy(),
    )
    report.table(
        f"ResNet-18 ({arguments.variant}), width {arguments.width}, batch "
        f"{arguments.batch_size}, 32x32x3, {count} iterations, "
        f"{arguments.rounds} rounds",
        rows(["bare products", "hessian_norm"], alternate(sides, arguments.rounds)),
        claimed={"hessian_norm": 1.1},
    )
    return report


def _bare_products(
    network: keras.Model, images: tf.Tensor, labels: tf.Tensor, count: int
) -> Run:
    @tf.function(autograph=False)
    def product(vectors: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(images)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(images)
                logits = network(images, training=False)
                loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                total = tf.reduce_sum(loss)
            gradient = inner.gradient(total, images)
        return outer.gradient(gradient, images, output_gradients=vectors)

    vectors = tf.random.stateless_normal(images.shape, [0, 0])

    def run() -> None:
        for _ in range(count):
            product(vectors).numpy()

    return run


if __name__ == "__main__":
    start(main)
