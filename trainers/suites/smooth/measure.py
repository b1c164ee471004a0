"""Measures what the paper on smooth adversarial examples reports.

Zhang et al. 2020, Smooth Adversarial Examples: tables 1 to 3, figures 1, 2 and 5.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrobust import analysis, attacks, data, smoothing
from tfrobust.analysis.transfer import Classify, behind_filter, transfer
from tfrobust.attacks import AttackResult
from tfrobust.cli.loading import Loaded
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import Images, Record, Value, measured
from tfrobust.core.estimates import Estimate
from tfrobust.core.terminal import columns
from trainers.suites import attacks as suite_attacks
from trainers.suites import parts, samples
from trainers.suites.options import EvaluateConfig
from trainers.suites.samples import Sample
from trainers.suites.smooth.suite import SmoothSettings
from trainers.suites.smooth.trials import Plan, Trial

FILTERED = "itself behind the filter"
"""What a source is called as a target of its own."""

SMALLEST, LARGEST, BUDGET = "smallest_success", "largest_radius", "budget"
"""The protocols: how an attack is run and which of its images counts."""


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

    @property
    def about(self) -> dict[str, Any]:
        """The attack and its radii, for records."""
        return {
            "spec": attacks.spec(self.trial.attack),
            "threat_model": suite_attacks.threat_model(self.trial.attack),
            "radii": list(self.trial.radii),
        }

    def records(
        self, model: str, of: Images, about: Mapping[str, Any], **setting: Value
    ) -> Iterator[Record]:
        """Every number, of the images as found and after rounding to 8 bits."""
        for rounded, result in ((False, self.result), (True, self.rounded)):
            success = result.success_rounded if rounded else result.success
            distance = result.distortion_rounded if rounded else result.distortion
            share = np.where(result.already, np.nan, success)
            length = np.where(share == 1, distance, np.nan)
            how: dict[str, Value] = {**setting, "rounded": rounded}
            yield measured(model, "success", share, of, about, **how)
            yield measured(model, "distortion", length, of, **how)
        counted = self.result.success & ~self.result.already
        rough = np.where(counted, self.roughness, np.nan)
        yield measured(model, "roughness", rough, of, **setting)
        if (cost := self.trial.cost) is not None:
            spent, exact = Estimate(cost, np.nan), {"exact": self.trial.exact}
            count = len(self.roughness)
            yield Record(
                model, self.trial.unit, setting, count, spent, about=exact
            )
        seconds = Estimate(self.seconds, np.nan)
        yield Record(
            model, "seconds_per_image", setting, len(self.roughness), seconds
        )

    def outcome(self) -> attacks.Outcome:
        """The verdicts of both choices, for what is left of the accuracy."""
        fields = self.result._asdict() | {
            "success_rounded": self.rounded.success_rounded,
            "distortion_rounded": self.rounded.distortion_rounded,
        }
        return attacks.Outcome(threat=self.trial.attack.threat, **fields)


@dataclasses.dataclass(frozen=True, eq=False)
class Attacked:
    """The images of one model, for transfers and figures.

    Args:
        classify: The model.
        sample: The images attacked, of which it has all right.
        smallest: Each attack by title.
        largest: The attacks that have a radius, at the largest alone.
    """

    classify: Classify
    sample: Sample
    smallest: dict[str, Tried]
    largest: dict[str, Tried]

    @property
    def skipped(self) -> int:
        """Misclassified images that were passed over on the way to the last one."""
        return int(self.sample.index[-1]) + 1 - len(self.sample.index)


class Measurer:
    """Attacks models one by one, and shows each what fooled the others.

    Args:
        run: The settings of the evaluation.
        own: Those of the suite.
        plan: From `trials.make`.
        test: All test images.
    """

    def __init__(
        self,
        run: EvaluateConfig,
        own: SmoothSettings,
        plan: Plan,
        test: data.Dataset,
    ) -> None:
        self._run, self._own, self._plan, self._test = run, own, plan, test
        self.attacked: dict[str, Attacked] = {}

    def facts(self) -> dict[str, str]:
        """The settings, in words."""
        own = self._own
        skipped = ", ".join(
            f"{one.skipped} for {name}" for name, one in self.attacked.items()
        )
        return {
            "data": f"{self._run.dataset}, {len(self._test)} test images",
            "images": f"for each model the first {self._run.examples} that it "
            f"classifies correctly; wrong ones passed over: {skipped}",
            **{
                f"attack {title}": attacks.spec(trial.attack)
                for title, trial in self._plan.smallest.items()
            },
            "radii": f"{own.radii}, evenly spaced, up to the eps of an attack",
            "roughness": f"{own.smooth_kernel} kernel of bandwidth "
            f"{own.smooth_bandwidth:g}, {own.smooth_neighbors} neighbours",
            "bilateral filter": f"standard deviations {own.filter_std:g} pixels and "
            f"{own.filter_range:.4g} of pixel values",
        }

    def measure(self, model: Loaded) -> Iterator[Record]:
        """What attacks do to one model, whose images are kept in `attacked`."""
        accuracy = parts.accuracy(self._run, model, self._test)
        yield accuracy
        sample = self._sample(model, np.asarray(accuracy.values, bool))
        plan, largest = self._plan, self._plan.largest
        trials = [*plan.smallest.values(), *largest.values(), *plan.budgets.values()]
        done = self._try_all(model, sample, list(dict.fromkeys(trials)))

        def classify(images: tf.Tensor) -> np.ndarray:
            return np.argmax(parts.logits_of(model, images), axis=-1)

        one = Attacked(
            classify,
            sample,
            {title: done[trial] for title, trial in plan.smallest.items()},
            {title: done[trial] for title, trial in largest.items()},
        )
        self.attacked[model.name] = one
        settings: list[tuple[dict[str, Value], Tried]] = [
            ({"attack": title, "protocol": protocol}, tried)
            for protocol, tries in ((SMALLEST, one.smallest), (LARGEST, one.largest))
            for title, tried in tries.items()
        ]
        settings += [
            ({"attack": title, "protocol": BUDGET, "budget": str(budget)}, done[trial])
            for (title, budget), trial in plan.budgets.items()
        ]
        skipped = {"images_from": sample.origin, "skipped": one.skipped}
        for setting, tried in settings:
            about = tried.about | skipped
            yield from tried.records(model.name, sample.first(), about, **setting)
        yield from self._left(model.name, one)

    def _sample(self, model: Loaded, correct: np.ndarray) -> Sample:
        count = self._run.examples
        if correct.sum() < count:
            raise UsageError(
                f"--examples={count} is more than the {correct.sum()} of "
                f"{len(correct)} test images that --model={model.source} classifies "
                "correctly."
            )
        return samples.first_correct(self._test, correct, count)

    def _left(self, model: str, one: Attacked) -> Iterator[Record]:
        """The accuracy that each attack leaves of the correct images, at any radius."""
        for title, tried in one.smallest.items():
            tries = {SMALLEST: tried}
            if title in one.largest:
                tries[LARGEST] = one.largest[title]
            evaluation = attacks.Evaluation(
                labels=one.sample.labels,
                clean_correct=np.ones(len(one.sample.labels), bool),
                results={name: each.outcome() for name, each in tries.items()},
            )
            left = suite_attacks.Left(
                self._run, model, evaluation, one.sample.first()
            )
            attack = tried.trial.attack
            yield from left.records(
                [(name, None) for name in tries],
                [attack],
                attack=title,
                threat_model=suite_attacks.threat_model(attack),
                eps=attack.budget,
                among="correct",
            )

    def _try_all(
        self, model: Loaded, sample: Sample, trials: Sequence[Trial]
    ) -> dict[Trial, Tried]:
        """Each trial on every image, under one bar that counts gradients."""
        total = sum(trial.cost or 1 for trial in trials) * len(sample.index)
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
                done[trial] = self._try(model, sample, trial, shown)
        return done

    def _try(self, model: Loaded, sample: Sample, trial: Trial, shown: Any) -> Tried:
        found, roughness, seconds = [], [], 0.0
        for place, (images, labels) in enumerate(sample.batches(self._run.batch_size)):
            if not place:
                _compile(model, trial, images, labels)
            began = time.perf_counter()
            found.append(_results(model, trial, images, labels))
            seconds += time.perf_counter() - began
            graph = smoothing.grid_graph(images, **self._own.graph)
            change = found[-1][0].adversarial - images
            roughness.append(graph.roughness(change).numpy())
            shown.update((trial.cost or 1) * len(images))
        result, rounded = (parts.joined(each) for each in zip(*found, strict=True))
        count = len(sample.index)
        return Tried(trial, result, rounded, np.concatenate(roughness), seconds / count)

    def transfers(self) -> Iterator[Record]:
        """Whether what fools a model fools it behind the filter, and the others."""
        own = self._own
        for name, source in self.attacked.items():
            filtered = behind_filter(source.classify, own.filter_std, own.filter_range)
            targets = {FILTERED: filtered} | {
                other: one.classify
                for other, one in self.attacked.items()
                if other != name
            }
            for target, classify in targets.items():
                yield from self._transfer(name, source, target, classify)

    def _transfer(
        self, name: str, source: Attacked, target: str, classify: Classify
    ) -> Iterator[Record]:
        tries = {(title, SMALLEST): one for title, one in source.smallest.items()}
        tries |= {(title, LARGEST): one for title, one in source.largest.items()}
        found = transfer(
            classify,
            source.sample.images,
            {str(key): one.result.adversarial for key, one in tries.items()},
            {str(key): one.result.success for key, one in tries.items()},
            self._run.batch_size,
        )
        of, pair = source.sample.first(), {"source": name, "target": target}
        yield measured(name, "target_accuracy", found.clean_correct, of, **pair)
        for key in tries:
            fooled, success = found.fooled[str(key)], found.success[str(key)]
            right = np.where(success, found.clean_correct, np.nan)
            counted = np.where(found.counted(str(key)), fooled, np.nan)
            how = {**pair, "attack": key[0], "protocol": key[1]}
            yield measured(name, "transfer", counted, of, **how)
            yield measured(name, "target_accuracy", right, **how)
            yield measured(name, "target_error", fooled, of, **how)


def _compile(model: Loaded, trial: Trial, images: Any, labels: Any) -> None:
    """Lets the attack be compiled, on an image that leaves it nothing to do.

    A label that is not what the model says is a success before it begins.
    """
    trial.attack(model.call, images[:1], (labels[:1] + 1) % model.classes)


def _results(
    model: Loaded, trial: Trial, images: Any, labels: Any
) -> tuple[AttackResult, AttackResult]:
    """What is found, chosen as found and chosen after rounding."""
    if trial.radii:
        return analysis.smallest_successes(
            trial.attack, model.call, images, labels, trial.radii, norm=2
        )
    result = trial.attack(model.call, images, labels)
    if trial.attack.threat.norm != 2:
        result = analysis.remeasure(result, images, norm=2)
    return result, result
