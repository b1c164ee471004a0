"""Claim: a converted ResNet-50 trains about 1.5 times as long a step on a CPU.

    python -m benchmarks.conversion --size=64 --batch_size=32 --rounds=8

The network of `keras.applications`, its low-curvature form and the minimal recipe take
turns, one step each a round; what is compared is each round's ratio to the network's
own step in that round. Both converted ones train with the curvature penalty. A power
iteration costs two convolutions of a single image, so the larger the batch, the less it
counts; scale and shift behind the batch norms pass over the features once more. CPU
seconds were 1.49 times the network's own, and 1.24 times with the recipe, on two cores
that did other work too.
"""

from __future__ import annotations

import argparse

import keras
import tensorflow as tf

from benchmarks.steps import training_step
from benchmarks.turns import alternate, table
from tfrobust import models, penalties


def main() -> None:
    """Times the three in turn and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="ResNet50V2")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    shape = (arguments.size, arguments.size, 3)
    make = getattr(keras.applications, arguments.network)
    keras.utils.set_random_seed(0)
    network = make(
        input_shape=shape, weights=None, classes=10, classifier_activation=None
    )
    penalty = (penalties.Curvature(),)
    settings = {
        "as it was": (network, ()),
        "low curvature": (models.to_low_curvature(network).network, penalty),
        "recipe": (models.curvature_recipe(network).network, penalty),
    }
    steps = [
        training_step(made, terms, None, arguments.batch_size)
        for made, terms in settings.values()
    ]
    seconds = alternate(steps, arguments.rounds)
    print(
        f"{arguments.network}, {shape}, batch {arguments.batch_size}, "
        f"TensorFlow {tf.__version__}, {arguments.rounds} rounds"
    )
    print(table(list(settings), seconds))


if __name__ == "__main__":
    main()
