"""Measures what the paper on perceptually aligned gradients reports.

Ganz, Kawar and Elad 2023, Do Perceptually Aligned Gradients Imply Adversarial
Robustness?: tables 1, 2 and 4, figures 1, 4 and 5.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfrobust import analysis, attacks, data, pag
from tfrobust.cli.loading import Loaded, find_model, load_classifier
from tfrobust.cli.program import UsageError, is_watched
from tfrobust.core.estimates import Estimate, mean
from trainers.suites import samples as evaluate_data
from trainers.suites.options import Eps, EvaluateConfig
from trainers.suites.parts import clean_correct
from trainers.suites.samples import Sample

# Added to the seed that draws a sample of the training data.
_OTHER_SAMPLE = 10_000

NORMS: dict[str, float | str] = {"Linf": "inf", "L2": 2}
"""The norms in which models are attacked, and what the library calls them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """All that was measured on one model.

    Args:
        clean_correct: bool, for each of the first test images.
        attacked: Success of both attacks on every image, by norm.
        alignments: Cosines of the class gradients, by where the directions are from.
        itself: What the model sees in the images that it moved, by radius.
        judged: What the judge sees in them; empty without one.
        shown: float32 `[S,K,H,W,C]`, the first of those moved farthest.
        masking: Signs of masked gradients, by norm; empty if they were not looked for.
    """

    clean_correct: np.ndarray
    attacked: attacks.Evaluation
    alignments: dict[str, analysis.Alignment]
    itself: dict[Eps, analysis.Agreement]
    judged: dict[Eps, analysis.Agreement]
    shown: np.ndarray
    masking: dict[str, analysis.MaskingReport]

    def accuracy(self) -> Estimate:
        """On the first test images."""
        return mean(self.clean_correct)

    def robust_accuracy(self, norm: str, rounded: bool = False) -> Estimate:
        """On the attacked images, within the ball of one norm."""
        return self.attacked.robust_accuracy([norm], rounded=rounded)


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """What was measured on every model, and on what.

    Args:
        config: The settings.
        train_size: Training images there are.
        test_size: Test images there are.
        class_names: The K names.
        attacked: The images attacked, the same for every model.
        moved: Those that were moved towards every class; they begin the others.
        judge: Name of the judge; empty without one.
        models: By name.
    """

    config: EvaluateConfig
    train_size: int
    test_size: int
    class_names: tuple[str, ...]
    attacked: Sample
    moved: Sample
    judge: str
    models: dict[str, Measured] = dataclasses.field(default_factory=dict)


class Measurer:
    """Measures models one by one, on images that it draws once.

    Args:
        config: The settings.
        attacks_by_norm: From `make_attacks`.
        judge: From `load_judge`.
        train: All training images.
        test: All test images.
    """

    def __init__(
        self,
        config: EvaluateConfig,
        attacks_by_norm: dict[str, attacks.Attack],
        judge: Loaded | None,
        train: data.Dataset,
        test: data.Dataset,
    ) -> None:
        self._config, self._attacks, self._judge = config, attacks_by_norm, judge
        self._test = test
        self._directions = make_directions(config, train)
        attacked, moved = (
            evaluate_data.draw(test, count, config.seed)
            for count in (config.examples, config.pag_moved)
        )
        name = judge.name if judge else ""
        self.findings = Findings(
            config, len(train), len(test), test.class_names, attacked, moved, name
        )

    def measure(self, model: Loaded) -> None:
        """Everything on one model, kept in `findings` under its name."""
        pixels = pixels_of(self.findings.attacked)
        # Every image takes a pass back for each class.
        size = max(1, self._config.batch_size // model.classes)
        alignments = {
            name: analysis.alignment(model.call, pixels, directions, size)
            for name, directions in self._directions.items()
        }
        itself, judged, moved = {}, {}, np.zeros([0])
        for eps in self._config.moved_radii:
            moved = self._moved(model, eps)
            itself[eps] = self._seen(model, moved)
            if self._judge:
                judged[eps] = self._seen(self._judge, moved)
        self.findings.models[model.name] = Measured(
            clean_correct(self._config, model, self._test),
            self._attacked(model),
            alignments,
            itself,
            judged,
            moved[: self._config.pag_shown],
            self._masking(model),
        )

    def _attacked(self, model: Loaded) -> attacks.Evaluation:
        batches = self.findings.attacked.batches(self._config.batch_size)
        shown = is_watched()
        return attacks.evaluate(model.call, batches, self._attacks, progress=shown)

    def _moved(self, model: Loaded, eps: Eps) -> np.ndarray:
        return analysis.towards_classes(
            model.call,
            pixels_of(self.findings.moved),
            eps=eps.value,
            steps=self._config.pag_moved_steps,
            classes=model.classes,
            batch_size=self._config.batch_size,
        )

    def _seen(self, judge: Loaded, moved: np.ndarray) -> analysis.Agreement:
        clean = pixels_of(self.findings.moved)
        return analysis.agreement(judge.call, moved, self._config.batch_size, clean)

    def _masking(self, model: Loaded) -> dict[str, analysis.MaskingReport]:
        config, count = self._config, self._config.masking_examples
        if not config.masking:
            return {}
        return {
            name: analysis.masking_check(
                model.call,
                pixels_of(self.findings.attacked)[:count],
                self.findings.attacked.images.labels[:count],
                norm=norm,
                eps=radii(config)[name],
                restarts=config.masking_restarts,
                steps=config.steps,
                queries=config.masking_queries,
                seed=config.seed,
                batch_size=config.batch_size,
            )
            for name, norm in NORMS.items()
        }


def radii(config: EvaluateConfig) -> dict[str, float]:
    """How far an attack may go, by norm."""
    return {"Linf": config.pag_linf, "L2": config.pag_l2}


def make_attacks(config: EvaluateConfig) -> dict[str, attacks.Attack]:
    """PGD from a random start, steps of `2 eps / steps`, in each norm."""
    return {
        name: attacks.PGD(
            norm=norm,
            eps=radii(config)[name],
            steps=config.steps,
            restarts=config.restarts,
            seed=config.seed,
        )
        for name, norm in NORMS.items()
    }


def make_directions(
    config: EvaluateConfig, train: data.Dataset
) -> dict[str, pag.Directions]:
    """Where gradients might point, from training images; `UsageError` if too few."""
    examples = train.images, train.labels, train.classes
    # Not those that a training of the same seed has been aligned with.
    samples, seed = config.pag_samples, config.seed + _OTHER_SAMPLE
    try:
        return {
            "class mean": pag.ClassMean(*examples),
            "nearest neighbour": pag.NearestNeighbor(
                *examples, samples=samples, seed=seed
            ),
        }
    except ValueError as error:
        raise UsageError(f"--dataset={config.dataset}: {error}") from error


def load_judge(config: EvaluateConfig) -> Loaded | None:
    """The classifier of --judge, if any; `UsageError` if it cannot be one."""
    if not config.judge:
        return None
    info = evaluate_data.check(config)
    judge = load_classifier(config.judge, flag="judge")
    judge.check(info.image_shape, info.classes, config.dataset)
    if judge.source in [find_model(path) for path in config.model]:
        raise UsageError(
            f"--judge={config.judge} must be another classifier than each --model, "
            "whose own images it judges."
        )
    return judge


def pixels_of(sample: Sample) -> Any:
    """Images as float32 `[N,H,W,C]` in [0, 1]."""
    return sample.images.images.astype(np.float32) / np.float32(255)
