"""Claim: `RobustModel.fit` without penalties is as fast as `keras.Model.fit`.

    python -m benchmarks.fit --width=16 --batch_size=128 --rounds=8

Both train the same network on the same `tf.data` batches, a few steps in each call of
`fit`, and take turns. The loss and the metric are the same; RobustModel also holds the
pixels and the labels of each batch against their range. The goal is a ratio of at most
1.03.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import keras
import tensorflow as tf

from benchmarks.reports import Parser, Report, start
from benchmarks.steps import random_batch
from benchmarks.turns import Run, alternate, rows
from tfrobust import models
from tfrobust.training import RobustModel

NETWORKS = {
    "mlp": lambda width: models.MLP((32, 32, 3), 10, "standard", (8 * width,)),
    "resnet18": lambda width: models.ResNet18((32, 32, 3), 10, "standard", width),
    "vgg11": lambda width: models.VGG11((32, 32, 3), 10, "standard", width),
}

_QUICK = {"width": 4, "batch_size": 16, "rounds": 2, "networks": ["mlp"]}


def main(argv: Sequence[str] | None = None) -> Report:
    """Times both in turn, with a table for each network."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS)
    )
    arguments, report = parser.parse(argv)
    for name in arguments.networks:
        keras.utils.set_random_seed(0)
        network = NETWORKS[name](arguments.width)
        plain = keras.models.clone_model(network)
        runs = {
            "keras.Model": _fit(plain, arguments, own=False),
            "RobustModel": _fit(RobustModel(network), arguments, own=True),
        }
        report.table(
            f"{name}, width {arguments.width}, batch {arguments.batch_size}, 32x32x3, "
            f"{arguments.steps} steps a call, {arguments.rounds} rounds",
            rows(list(runs), alternate(list(runs.values()), arguments.rounds)),
            key=name,
            claimed={"RobustModel": 1.03},
        )
    return report


def _fit(model: keras.Model, arguments: argparse.Namespace, own: bool) -> Run:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    settings = {} if own else {"loss": loss, "metrics": ["accuracy"]}
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, jit_compile=False, **settings)
    batches = tf.data.Dataset.from_tensors(random_batch(arguments.batch_size))
    batches = batches.repeat(arguments.steps).cache()
    return lambda: model.fit(batches, verbose=0)


if __name__ == "__main__":
    start(main)
