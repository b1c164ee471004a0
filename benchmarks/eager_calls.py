"""Claim: a call takes at most 1.1 times as long as the same inside a `tf.function`.

    python -m benchmarks.eager_calls --width=16 --batch_size=32 --rounds=5

What loops compiles itself when it is called eagerly, as users call it. Each call takes
turns with itself in a graph, and what is compared is each round's ratio, so that a busy
neighbour slows both. `benchmarks.smoothing` has the same for one smoothing of large
images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from benchmarks.reports import Parser, Report, start
from benchmarks.turns import alternate, rows
from tfrobust import geometry, models, pag, smoothing

_QUICK = {"width": 4, "batch_size": 8, "rounds": 2}


def main(argv: Sequence[str] | None = None) -> Report:
    """Times each call in turn with itself in a graph, with a table for each."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments, report = parser.parse(argv)
    random = np.random.default_rng(0)
    shape = (arguments.batch_size, 32, 32, 3)
    images = tf.constant(random.random(shape), tf.float32)
    for name, call in _calls(arguments.width, images).items():
        graph = tf.function(call, autograph=False)
        runs = [lambda run=run: _waited(run(images)) for run in (graph, call)]
        seconds = alternate(runs, arguments.rounds)
        report.table(
            f"{name}: ResNet-18, width {arguments.width}, batch "
            f"{arguments.batch_size}, 32x32x3, {arguments.rounds} rounds",
            rows(["in a graph", "as called"], seconds),
            key=name,
            claimed={"as called": 1.1},
        )
    return report


def _calls(width: int, images: tf.Tensor) -> dict[str, Callable]:
    keras.utils.set_random_seed(0)
    network = models.ResNet18((32, 32, 3), 10, "lcnn", width)
    labels = tf.zeros([len(images)], tf.int32)
    chosen = tf.broadcast_to(tf.range(10), [len(images), 10])
    smoother, teacher = smoothing.Smoother(images), pag.Teacher(network)
    return {
        "Smoother": smoother,
        "Teacher": lambda x: teacher(x, chosen),
        "gradient_norm": lambda x: geometry.gradient_norm(network, x, labels),
        "curvature": lambda x: geometry.curvature(network, x, labels),
        "robustness": lambda x: geometry.robustness(network, x),
        "gradient_stability": lambda x: geometry.gradient_stability(
            network, x, labels, [0.01, 0.1]
        ),
    }


def _waited(result: object) -> list[np.ndarray]:
    """The numbers, of which a device may still be at work."""
    return [np.asarray(part) for part in tf.nest.flatten(result)]


if __name__ == "__main__":
    start(main)
