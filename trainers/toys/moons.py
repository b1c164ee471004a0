"""Two moons: how smooth the decision boundaries of four networks are."""

from __future__ import annotations

import keras
import numpy as np

from tfrobust import data, geometry, models, penalties, viz
from tfrobust.cli.tables import Column, Table, number, percent
from trainers.toys.options import ToyConfig
from trainers.toys.parts import (
    ToyReport,
    fit,
    over_seeds,
    probabilities,
    which_seeds,
)

_HIDDEN = (64, 64)
# A 1-Lipschitz network of the unit square cannot be confident on both sides of a gap;
# its input is stretched, for all networks alike, so that it can.
_STRETCH = 100.0
_LEARNING_RATE = 0.01
_BATCHES = 4  # In an epoch; `trainers.toy` bounds --examples by it.
_TEST_EXAMPLES = 2000

# The paper says no setting of its two moons (LCNN-N1); there are no norms, so no gamma.
_CURVATURE = penalties.Curvature(beta=1e-2, gamma=0.0)
_GRADIENT_NORM = penalties.GradientNorm(2e-3)
# name: (variant, penalties)
_METHODS: dict[str, tuple[str, tuple[penalties.Penalty, ...]]] = {
    "standard": ("standard", ()),
    "GradReg": ("standard", (_GRADIENT_NORM,)),
    "LCNN": ("lcnn", (_CURVATURE,)),
    "LCNN + GradReg": ("lcnn", (_CURVATURE, _GRADIENT_NORM)),
}


def run(config: ToyConfig) -> ToyReport:
    """Figure 1(a, b) of the LCNN paper (Srinivas et al. 2022)."""
    measured: dict[str, list[tuple[float, ...]]] = {name: [] for name in _METHODS}
    panels = {}
    seeds = range(config.seed, config.seed + config.seeds)
    for seed in seeds:
        train = data.make_two_moons(config.examples, config.noise, 2 * seed)
        test = data.make_two_moons(_TEST_EXAMPLES, config.noise, 2 * seed + 1)
        for name in _METHODS:
            network = _trained(name, train, seed, config.steps)
            measured[name].append(_measure(network, train, test))
            if seed == config.seed:
                panels[name] = probabilities(network)
    shown = data.make_two_moons(config.examples, config.noise, 2 * config.seed)
    columns = [Column("network", numeric=False)]
    columns += [Column(f"{part} accuracy", percent) for part in ("train", "test")]
    columns += [Column(part, number) for part in ("gradient norm", "curvature")]
    rows = [[name, *over_seeds(values)] for name, values in measured.items()]
    sentence = (
        f"Trained on {config.examples} points at noise {config.noise:g} for "
        f"{config.steps} steps, measured on {_TEST_EXAMPLES} others; "
        f"{which_seeds(config)}."
    )
    figure = viz.decision_boundaries(
        panels, *shown, class_names=("upper moon", "lower moon")
    )
    return ToyReport(sentence, Table(columns, rows), figure)


def _trained(
    name: str, train: tuple[np.ndarray, np.ndarray], seed: int, steps: int
) -> keras.Model:
    """A network of one of the methods, trained on all points."""
    variant, terms = _METHODS[name]
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((2,))
    stretched = keras.layers.Rescaling(_STRETCH, -_STRETCH / 2)(inputs)
    body = models.MLP((2,), classes=2, variant=variant, hidden=_HIDDEN)
    network = keras.Model(inputs, body(stretched))
    fit(
        network,
        *train,
        terms=terms,
        learning_rate=_LEARNING_RATE,
        batch=len(train[1]) // _BATCHES,
        steps=steps,
        seed=seed,
    )
    return network


def _measure(
    network: keras.Model,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> tuple[float, ...]:
    """Train and test accuracy, gradient norm and curvature on test points."""
    accuracies = [
        float(np.mean(np.argmax(network(points), axis=-1) == labels))
        for points, labels in (train, test)
    ]
    measured = geometry.measure(network, test, power_iterations=10).means()
    return *accuracies, measured["gradient_norm"][0], measured["curvature"][0]
