"""Claim: a standard step takes at most 4 times what its products take at full rate.

    python -m benchmarks.matmul_limit --batch_size=128 --rounds=5

The full rate is that of one product of two large float32 matrices on the same cores,
which takes its turn in every round; what a step needs are the products of its
convolutions and dense layers, forward, for the weights' gradients and for those of what
comes in, which the images have no use for. The step's time over the time of as many
operations at that rate is at least 1, unless a convolution is computed with fewer of
them, and `share` is its inverse. Norms, activations, the update of the weights and
whatever only moves memory count as time and not as operations.

`trainers.cifar --dry_run` foretells an epoch from the same two numbers, and says that
networks of small images usually reach a quarter to a half of the rate.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from benchmarks.reports import TIMES, Parser, Report, start
from benchmarks.steps import training_step
from benchmarks.turns import Run, alternate, rows
from tfrobust import models

_FAMILIES = {"resnet18": models.ResNet18, "resnet9": models.ResNet9}
NETWORKS = ("resnet18:16", "resnet18:64", "resnet9:32", "resnet9:64")
_BOUND = 4.0
_QUICK = {
    "networks": ["resnet18:4"],
    "batch_size": 16,
    "matrix_size": 512,
    "rounds": 2,
}
LIMIT, STEP = "its products at full rate", "a step"


def main(argv: Sequence[str] | None = None) -> Report:
    """Times a matrix product and a step in turn, with a table for each network."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument(
        "--networks",
        nargs="+",
        type=_network,
        default=list(NETWORKS),
        help="name:width",
    )
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--matrix_size", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    arguments, report = parser.parse(argv)
    for name in arguments.networks:
        _measure(name, arguments, report)
    return report


def training_operations(network: keras.Model) -> int:
    """Floating-point operations of the products in a training step, for one image.

    Args:
        network: A functional model of one image that goes into one layer with weights.

    Returns:
        Two for each multiply-add: one forward, one for the gradient of the kernel and,
        but in the first layer, one for the gradient of what comes in.
    """
    first = next(layer for layer in network.layers if hasattr(layer, "kernel"))
    below = models.multiply_adds(keras.Model(network.inputs, first.output))
    return 2 * (3 * models.multiply_adds(network) - below)


def _network(text: str) -> str:
    """`name:width`, checked."""
    name, _, width = text.partition(":")
    if name not in _FAMILIES or not width.isdecimal() or int(width) < 1:
        raise argparse.ArgumentTypeError(
            f"must be one of {', '.join(_FAMILIES)}, a colon and a width. "
            f"Received: {text}"
        )
    return text


def _measure(name: str, arguments: argparse.Namespace, report: Report) -> None:
    family, _, width = name.partition(":")
    keras.utils.set_random_seed(0)
    network = _FAMILIES[family]((32, 32, 3), 10, "standard", int(width))
    size = arguments.matrix_size
    step = training_step(network, batch_size=arguments.batch_size)
    seconds = alternate([_product(size), step], arguments.rounds)
    needed = training_operations(network) * arguments.batch_size
    rates = 2 * size**3 / seconds[0]
    limits = needed / rates
    made = rows([LIMIT, STEP], np.stack([limits, seconds[1]]))
    for row in made:
        row["share"] = 1.0 / row["cpu_ratio"]
        row["gflop_per_s"] = 1e-9 * needed / row["wall_s"]
    report.table(
        f"{family}, width {width}, batch {arguments.batch_size}, 32x32x3: "
        f"{1e-9 * needed:.1f} GFLOP a step, matrices {size}x{size}, "
        f"{arguments.rounds} rounds",
        made,
        {**TIMES, "share": ".3f", "gflop_per_s": ".1f"},
        key=name,
        claimed={STEP: _BOUND},
    )
    # The next network finds its memory free.
    keras.backend.clear_session()


def _product(size: int) -> Run:
    """One product of two matrices, float32."""
    left, right = (tf.random.stateless_normal([size, size], [0, k]) for k in range(2))
    return lambda: tf.linalg.matmul(left, right).numpy()


if __name__ == "__main__":
    start(main)
