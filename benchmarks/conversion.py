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

from collections.abc import Sequence

import keras

from benchmarks.reports import Parser, Report, start
from benchmarks.steps import training_step
from benchmarks.turns import alternate, rows
from tfrobust import models, penalties

_QUICK = {"size": 32, "batch_size": 2, "rounds": 2}


def main(argv: Sequence[str] | None = None) -> Report:
    """Times the three in turn."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--network", default="ResNet50V2")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=8)
    arguments, report = parser.parse(argv)
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
    report.table(
        f"{arguments.network}, {shape}, batch {arguments.batch_size}, "
        f"{arguments.rounds} rounds",
        rows(list(settings), seconds),
        claimed={"low curvature": None},
    )
    return report


if __name__ == "__main__":
    start(main)
