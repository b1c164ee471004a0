"""Measures what the paper on smooth adversarial examples reports.

Zhang et al. 2020, Smooth Adversarial Examples: tables 1 to 3, figures 1, 2 and 5.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrobust import analysis, data, smoothing
from tfrobust.analysis.transfer import Classify, Transfer, behind_filter, transfer
from tfrobust.attacks import AttackResult
from tfrobust.cli.loading import Loaded
from tfrobust.cli.program import UsageError
from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.terminal import columns
from trainers.suites import samples as evaluate_data
from trainers.suites.options import Budget, EvaluateConfig
from trainers.suites.parts import clean_correct, joined, logits_of
from trainers.suites.samples import Sample
from trainers.suites.smooth.attacks import Trial, graph_settings

FILTERED = "itself behind the filter"
"""What a source is called as a target of its own."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tried:
    """What a trial did to N images that a model classifies correctly.

    Args:
        trial: The attack.
        result: Its images, float32 `[N, H, W, C]`, and verdicts `[N]`; the least
            distorted success over the radii. L2 distortions.
        rounded: The same, chosen by what is left after rounding to 8 bits.
        roughness: float32 `[N]`, of the perturbations of `result`.
        seconds: Wall clock time for each image, on this machine.
    """

    trial: Trial
    result: AttackResult
    rounded: AttackResult
    roughness: np.ndarray
    seconds: float

    def curve(self) -> analysis.Characteristic:
        """P(D) of the images as found."""
        return analysis.characteristic(self.result)

    def curve_rounded(self) -> analysis.Characteristic:
        """P(D) after rounding to 8 bits."""
        return analysis.characteristic(self.rounded, rounded=True)

    def mean_roughness(self) -> Estimate:
        """Mean over the successes; NaN without any."""
        counted = self.result.success & ~self.result.already
        return mean(self.roughness[counted])

    def estimates(self) -> dict[str, Estimate]:
        """Every mean with its standard error, by name."""
        found, rounded = self.curve(), self.curve_rounded()
        return {
            "success": found.success_rate(),
            "distortion": found.mean_distortion(),
            "success_rounded": rounded.success_rate(),
            "distortion_rounded": rounded.mean_distortion(),
            "roughness": self.mean_roughness(),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """All that was measured on one model.

    Args:
        clean_correct: bool, for each of the first test images.
        sample: The images attacked, of which the model has all right.
        tried: Each attack by name.
        largest: The attacks that have a radius, at the largest alone.
        budgets: By name of the attack and budget.
        transfers: From this model, by target.
        transfers_largest: The same of the images at the largest radius.
    """

    clean_correct: np.ndarray
    sample: Sample
    tried: dict[str, Tried]
    largest: dict[str, Tried]
    budgets: dict[tuple[str, Budget], Tried]
    transfers: dict[str, Transfer] = dataclasses.field(default_factory=dict)
    transfers_largest: dict[str, Transfer] = dataclasses.field(default_factory=dict)

    @property
    def skipped(self) -> int:
        """Misclassified images that were passed over on the way to the last one."""
        return int(self.sample.index[-1]) + 1 - len(self.sample.index)

    def accuracy(self) -> Estimate:
        """On the test images looked at."""
        return mean(self.clean_correct)


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """What was measured on every model.

    Args:
        config: The settings.
        test_size: Test images there are.
        models: By name.
    """

    config: EvaluateConfig
    test_size: int
    models: dict[str, Measured] = dataclasses.field(default_factory=dict)


class Measurer:
    """Attacks models one by one, and shows what was found to those before and after.

    Args:
        config: The settings.
        trials: From `make_trials`.
        budgets: From `make_budgets`.
        test: All test images.
    """

    def __init__(
        self,
        config: EvaluateConfig,
        trials: Mapping[str, Trial],
        budgets: Mapping[tuple[str, Budget], Trial],
        test: data.Dataset,
    ) -> None:
        self._config, self._trials, self._budgets = config, trials, budgets
        self._test = test
        self._targets: dict[str, Classify] = {}
        self.findings = Findings(config, len(test))

    def measure(self, model: Loaded) -> None:
        """Everything on one model, kept in `findings` under its name."""
        correct = clean_correct(self._config, model, self._test)
        sample = self._sample(model, correct)
        largest = {
            name: trial.at_largest()
            for name, trial in self._trials.items()
            if trial.radii
        }
        wanted = [*self._trials.values(), *largest.values(), *self._budgets.values()]
        done = _try_all(self._config, model, sample, list(dict.fromkeys(wanted)))
        one = Measured(
            correct,
            sample,
            {name: done[trial] for name, trial in self._trials.items()},
            {name: done[trial] for name, trial in largest.items()},
            {key: done[trial] for key, trial in self._budgets.items()},
        )
        self._transfer(model, one)
        self.findings.models[model.name] = one

    def _sample(self, model: Loaded, correct: np.ndarray) -> Sample:
        wanted = self._config.examples
        if correct.sum() < wanted:
            raise UsageError(
                f"--examples={wanted} is more than the {correct.sum()} of "
                f"{len(correct)} test images that --model={model.source} classifies "
                "correctly."
            )
        return evaluate_data.first_correct(self._test, correct, wanted)

    def _transfer(self, model: Loaded, one: Measured) -> None:
        """To the models before, to itself behind the filter, and from those before."""
        config = self._config

        def classify(images: tf.Tensor) -> np.ndarray:
            return np.argmax(logits_of(model, images), axis=-1)

        filtered = behind_filter(classify, config.filter_std, config.filter_range)
        self._show(one, FILTERED, filtered)
        for name, target in self._targets.items():
            self._show(one, name, target)
            self._show(self.findings.models[name], model.name, classify)
        self._targets[model.name] = classify

    def _show(self, source: Measured, name: str, target: Classify) -> None:
        pairs = (
            (source.tried, source.transfers),
            (source.largest, source.transfers_largest),
        )
        for tried, kept in pairs:
            kept[name] = transfer(
                target,
                source.sample.images,
                {key: np.asarray(one.result.adversarial) for key, one in tried.items()},
                {key: np.asarray(one.result.success) for key, one in tried.items()},
                self._config.batch_size,
            )


def _try_all(
    config: EvaluateConfig, model: Loaded, sample: Sample, trials: Sequence[Trial]
) -> dict[Trial, Tried]:
    """Each trial on every image, under one bar that counts gradients."""
    total = sum(trial.gradients for trial in trials) * len(sample.index)
    done = {}
    with tqdm(
        total=total,
        desc="attacks",
        unit="gradients",
        unit_scale=True,
        ncols=columns(sys.stderr),
        disable=None,
    ) as shown:
        for trial in trials:
            shown.set_postfix_str(type(trial.attack).__name__)
            done[trial] = _try(config, model, sample, trial, shown)
    return done


def _try(
    config: EvaluateConfig, model: Loaded, sample: Sample, trial: Trial, shown: Any
) -> Tried:
    found, roughness, seconds = [], [], 0.0
    for place, (images, labels) in enumerate(sample.batches(config.batch_size)):
        if not place:
            _prepare(model, trial, images, labels)
        began = time.perf_counter()
        found.append(_results(model, trial, images, labels))
        seconds += time.perf_counter() - began
        graph = smoothing.grid_graph(images, **graph_settings(config))
        change = found[-1][0].adversarial - images
        roughness.append(graph.roughness(change).numpy())
        shown.update(trial.gradients * len(images))
    result, rounded = (joined(parts) for parts in zip(*found, strict=True))
    count = len(sample.index)
    return Tried(trial, result, rounded, np.concatenate(roughness), seconds / count)


def _prepare(model: Loaded, trial: Trial, images: Any, labels: Any) -> None:
    """Lets the attack be compiled, on an image that leaves it nothing to do.

    A label that is not what the model says is a success before it begins.
    """
    trial.attack(model.call, images[:1], (labels[:1] + 1) % model.classes)


def _results(
    model: Loaded, trial: Trial, images: Any, labels: Any
) -> tuple[AttackResult, AttackResult]:
    """What is found, chosen as found and chosen after rounding."""
    if not trial.radii:
        result = trial.attack(model.call, images, labels)
        return result, result
    return analysis.smallest_successes(
        trial.attack, model.call, images, labels, trial.radii, norm=2
    )
