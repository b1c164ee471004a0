"""Claim: a PAG step with all 10 classes costs at most 6 times a standard step.

    python -m benchmarks.alignment --width=16 --batch_size=128 --rounds=6

And at least 2 times less than a loop over classes with nested tapes, and with 2 classes
drawn a step at most 3 times a standard step, all on the paper's network, with ReLU.
The ways to get at the K gradients and their derivatives take turns with a standard
step. Counted in passes through the network, of which a standard step is 3, a loop that
runs the network for every class takes 3 + 6 K = 63, sharing the forward pass
3 + 3 K = 33, random signs 3 + K + 3 = 16, and 2 classes 9 one by one or 8 by signs.
Nearest-neighbour targets are to add at most 5 % to the same step towards class means:
`--base="2 classes, signs"`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from benchmarks.reports import Parser, Report, start
from benchmarks.steps import random_batch, training_step
from benchmarks.turns import Run, alternate, rows
from tfrobust import models, pag, penalties
from tfrobust.core.gradients import class_gradients
from tfrobust.core.vectors import cosine

CLASSES = 10
# By what ratios are to: what the claim lets a row cost at most.
_BOUNDS: dict[str, dict[str, float | None]] = {
    "standard": {"all, signs": 6.0, "2 classes, signs": 3.0},
    "2 classes, signs": {"2 classes, nearest": 1.05},
    "all, plain loop": {"all, signs": 0.5},
}
_QUICK = {"width": 4, "batch_size": 8, "rounds": 2, "rows": ["2 classes, s", "all, s"]}


class Plain(penalties.GradientAlignment):
    """A loop over classes, each with a tape and a forward pass of its own."""

    def __call__(self, context: penalties.StepContext) -> tf.Tensor:
        images, total = context.images, 0.0
        for t in range(CLASSES):
            with tf.GradientTape() as tape:
                tape.watch(images)
                logit = context.network(images, training=True)[:, t]
            gradients = tape.gradient(logit, images)[:, None]
            chosen = tf.fill([tf.shape(images)[0], 1], t)
            total += 1.0 - cosine(gradients, self.directions(images, chosen))
        return self.weight * tf.reduce_mean(total)


class Tiled(penalties.GradientAlignment):
    """One pass of K times the batch, each copy for another class."""

    def __call__(self, context: penalties.StepContext) -> tf.Tensor:
        images, size = context.images, tf.shape(context.images)[0]
        copies = tf.repeat(images, CLASSES, axis=0)
        chosen = tf.tile(tf.range(CLASSES), [size])
        with tf.GradientTape() as tape:
            tape.watch(copies)
            logits = context.network(copies, training=True)
            own = tf.gather(logits, chosen, batch_dims=1)
        gradients = tape.gradient(own, copies)
        goals = self.directions(copies, chosen[:, None])
        return (
            self.weight
            * CLASSES
            * tf.reduce_mean(1.0 - cosine(gradients[:, None], goals))
        )


class OneByOne(penalties.GradientAlignment):
    """The shared forward pass, and a pass back for each class."""

    def __call__(self, context: penalties.StepContext) -> tf.Tensor:
        shape = [tf.shape(context.images)[0], CLASSES]
        chosen = tf.broadcast_to(tf.range(CLASSES), shape)
        gradients = class_gradients(context.pullback, chosen, CLASSES, vectorize=False)
        goals = self.directions(context.images, chosen)
        missing = tf.reduce_sum(1.0 - cosine(gradients, goals), axis=1)
        return self.weight * tf.reduce_mean(missing)


def main(argv: Sequence[str] | None = None) -> Report:
    """Times the rows in turn."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--variant", choices=("plain", "standard"), default="plain")
    parser.add_argument("--base", default="standard", help="what ratios are to")
    parser.add_argument("--rows", nargs="*", help="some of the rows, by their start")
    arguments, report = parser.parse(argv)
    terms = {
        name: term
        for name, term in _terms(arguments).items()
        if name == arguments.base or any(map(name.startswith, arguments.rows or [""]))
    }
    runs = [_step(term, arguments) for term in terms.values()]
    seconds = alternate(runs, arguments.rounds)
    names = list(terms)
    report.table(
        f"ResNet-18, {arguments.variant}, width {arguments.width}, "
        f"batch {arguments.batch_size}, 32x32x3, {CLASSES} classes, "
        f"{arguments.rounds} rounds",
        rows(names, seconds, names.index(arguments.base)),
        claimed=_BOUNDS.get(arguments.base, {}),
    )
    return report


def _terms(arguments: argparse.Namespace) -> dict[str, list[penalties.Penalty]]:
    images, _ = random_batch(1000)
    labels = np.arange(len(images)) % CLASSES
    mean = pag.ClassMean(images, labels, CLASSES)
    nearest = pag.NearestNeighbor(images, labels, CLASSES, samples=50)
    network = models.ResNet18((32, 32, 3), CLASSES, "standard", arguments.width)
    align = penalties.GradientAlignment
    return {
        "standard": [],
        "all, signs": [align(mean)],
        "all, vectorised": [align(mean, exact=True)],
        "all, one by one": [OneByOne(mean)],
        "all, tiled": [Tiled(mean)],
        "all, plain loop": [Plain(mean)],
        "2 classes, signs": [align(mean, classes_per_step=2)],
        "2 classes, exact": [align(mean, classes_per_step=2, exact=True)],
        "2 classes, nearest": [align(nearest, classes_per_step=2)],
        "all, nearest": [align(nearest)],
        "2 classes, teacher": [align(pag.Teacher(network), classes_per_step=2)],
    }


def _step(terms: list[penalties.Penalty], arguments: argparse.Namespace) -> Run:
    keras.utils.set_random_seed(0)
    network = models.ResNet18((32, 32, 3), CLASSES, arguments.variant, arguments.width)
    return training_step(network, terms, batch_size=arguments.batch_size)


if __name__ == "__main__":
    start(main)
