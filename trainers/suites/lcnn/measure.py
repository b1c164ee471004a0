"""Measures what the LCNN paper reports: accuracy, PGD, geometry, stability.

Srinivas et al. 2022, Efficient Training of Low-Curvature Neural Networks: tables 1 to 3
and figure 2.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust import attacks, data, geometry
from tfrobust.cli.loading import Loaded
from tfrobust.cli.program import UsageError, is_watched
from trainers.suites import samples as evaluate_data
from trainers.suites.options import EvaluateConfig
from trainers.suites.parts import Pair, bar, clean_correct, pair
from trainers.suites.samples import Sample

# Figure 2 of the paper: from 1e-3 to 1e-1.
RADII = tuple(np.geomspace(1e-3, 1e-1, 7).tolist())

QUANTITIES = {
    "gradient_norm": "gradient norm",
    "hessian_norm": "Hessian norm",
    "curvature": "curvature",
}
"""What `geometry.measure` finds, and what to call it."""

COMPARED = ("gradient_norm", "curvature")
"""The quantities of which training and test images are compared."""


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """All that was measured on one model.

    Args:
        clean_correct: bool `[N]`, for each image of the clean accuracy.
        train_sample: The training images looked at.
        attacked: Success of every attack on every image.
        test: Geometry of the loss at test images.
        train: The same at training images.
        stability: float `[R, N]`, relative change of the gradient at test images;
            `None` if the model refuses the noisy images.
        bound: float `[R, N]`, its bound.
    """

    clean_correct: np.ndarray
    train_sample: Sample
    attacked: attacks.Evaluation
    test: geometry.Measurement
    train: geometry.Measurement
    stability: np.ndarray | None
    bound: np.ndarray

    def accuracy(self) -> Pair:
        """Clean accuracy."""
        return rowwise(self.clean_correct[None].astype(np.float64))[0]

    def attacked_clean(self) -> Pair:
        """Accuracy on the images that are attacked, before they are."""
        return pair(self.attacked.accuracy())

    def robust_accuracy(self, rounded: bool = False) -> list[Pair]:
        """Accuracy at each eps, counting what any attack up to that eps has found."""
        names = list(self.attacked.results)
        return [
            pair(self.attacked.robust_accuracy(names[: place + 1], rounded=rounded))
            for place in range(len(names))
        ]

    def geometry(self, split: str) -> dict[str, Pair]:
        """Mean of each quantity on "test" or "train"."""
        summary = (self.test if split == "test" else self.train).summary()
        return {key: pair(summary[key]) for key in QUANTITIES}

    def stabilities(self) -> list[Pair | None]:
        """Mean relative change of the gradient at each radius, if it was measured."""
        if self.stability is None:
            return [None] * len(RADII)
        return list(rowwise(self.stability))

    def discrepancies(self) -> dict[str, Pair]:
        """|test - train| / test of each compared quantity."""
        return {
            key: pair(
                geometry.discrepancy(getattr(self.test, key), getattr(self.train, key))
            )
            for key in COMPARED
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """What was measured on every model, and on what.

    Args:
        config: The settings.
        train_size: Training images there are.
        test_size: Test images there are.
        attacked: The images attacked, the same for every model.
        looked_at: Those whose geometry was measured; one sample begins the other.
        models: By name.
    """

    config: EvaluateConfig
    train_size: int
    test_size: int
    attacked: Sample
    looked_at: Sample
    models: dict[str, Measured] = dataclasses.field(default_factory=dict)


class Measurer:
    """Measures models one by one, on images that it draws once.

    Args:
        config: The settings.
        attacks_by_name: From `make_attacks`.
        train: All training images.
        test: All test images.
    """

    def __init__(
        self,
        config: EvaluateConfig,
        attacks_by_name: dict[str, attacks.Attack],
        train: data.Dataset,
        test: data.Dataset,
    ) -> None:
        self._config = config
        self._attacks = attacks_by_name
        self._train, self._test = train, test
        attacked, looked_at = (
            evaluate_data.draw(test, count, config.seed)
            for count in (config.examples, config.geometry_examples)
        )
        self.findings = Findings(config, len(train), len(test), attacked, looked_at)

    def measure(self, model: Loaded) -> None:
        """Everything on one model, kept in `findings` under its name."""
        config, size = self._config, self._config.batch_size
        shown = is_watched()
        sample = evaluate_data.training_sample(model, self._train, config)
        measure = functools.partial(
            geometry.measure,
            model.call,
            power_iterations=config.power_iterations,
            progress=shown,
        )
        clean = clean_correct(config, model, self._test)
        batches = self.findings.attacked.batches(size)
        attacked = attacks.evaluate(model.call, batches, self._attacks, progress=shown)
        test = measure(self.findings.looked_at.batches(size))
        train = measure(sample.batches(size))
        stability = self._stability(model)
        bound = np.asarray(geometry.stability_bound(test.curvature, RADII))
        self.findings.models[model.name] = Measured(
            clean, sample, attacked, test, train, stability, bound
        )

    def _stability(self, model: Loaded) -> np.ndarray | None:
        batches = self.findings.looked_at.batches(self._config.batch_size)
        try:
            parts = [
                np.asarray(
                    geometry.gradient_stability(
                        model.call, images, labels, RADII, seed=self._config.seed
                    )
                )
                for images, labels in bar(batches, "gradient stability")
            ]
        except tf.errors.InvalidArgumentError:
            # What `export` writes checks its input, and noise leads out of [0, 1].
            return None
        return np.concatenate(parts, axis=1)


def make_attacks(config: EvaluateConfig) -> dict[str, attacks.Attack]:
    """One attack for each eps, rising; `UsageError` if there is no such attack."""
    norm: Any = "inf" if config.norm == "inf" else int(config.norm)
    try:
        return {
            f"eps {eps}": attacks.PGD(
                norm=norm,
                eps=eps.value,
                steps=config.steps,
                restarts=config.restarts,
                seed=config.seed,
            )
            for eps in config.eps
        }
    except ValueError as error:
        raise UsageError(f"The attack cannot be made: {error}") from error


def rowwise(values: np.ndarray) -> list[Pair]:
    """Mean and standard error of each row of `[R, N]`."""
    errors = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    return list(zip(values.mean(axis=1).tolist(), errors.tolist(), strict=True))
