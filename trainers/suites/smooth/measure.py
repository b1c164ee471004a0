"""Measures what the paper on smooth adversarial examples reports.

Zhang et al. 2020, Smooth Adversarial Examples: tables 1 to 3, figures 1 to 5.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrobust import analysis, attacks, data, smoothing
from tfrobust.analysis.transfers import Classify, behind_filter, transfer
from tfrobust.attacks import AttackResult
from tfrobust.cli.loading import Loaded
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import Images, Record, measured
from tfrobust.core.estimates import Estimate
from tfrobust.core.terminal import columns
from trainers.suites import attacks as suite_attacks
from trainers.suites import parts, samples
from trainers.suites.options import EvaluateConfig
from trainers.suites.samples import Sample
from trainers.suites.smooth.suite import SmoothSettings
from trainers.suites.smooth.trials import AT_EPS, BUDGET, SMALLEST, Case, Trial

FILTERED = "itself behind the filter"
"""What a source is called as a target of its own."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tried:
    """What a trial did to N images that a model classifies correctly.

    Args:
        trial: The attack.
        result: Its images and verdicts: of the least distorted success over the radii,
            and after rounding of the least distorted success after rounding. In L2.
        roughness: float32 `[N]`, of the perturbations.
        seconds: Wall clock time for each image, on this machine.
    """

    trial: Trial
    result: attacks.AttackOutcome
    roughness: np.ndarray
    seconds: float

    @property
    def images(self) -> np.ndarray:
        """The adversarial images, float32 `[N, H, W, C]`."""
        assert self.result.adversarial is not None  # noqa: S101
        return self.result.adversarial

    @property
    def curve(self) -> analysis.Characteristic:
        """P(D) of the images as they are."""
        return analysis.characteristic(self.result)

    def records(
        self, model: str, of: Images, about: Mapping[str, Any], **setting: Any
    ) -> Iterator[Record]:
        """Every number; success and distortion exact and rounded to 8 bits."""
        trial, result, count = self.trial, self.result, len(self.roughness)
        about = {
            "spec": attacks.spec(trial.attack),
            "threat_model": suite_attacks.threat_model(trial.attack),
            "radii": list(trial.radii),
            **about,
        }

        def among_successes(success: Any, values: Any) -> np.ndarray:
            return np.where(success & ~result.already, values, np.nan)

        for rounded, success, distortion in (
            (False, result.success, result.distortion),
            (True, result.success_rounded, result.distortion_rounded),
        ):
            how: dict[str, Any] = {**setting, "rounded": rounded}
            share = np.where(result.already, np.nan, success)
            yield measured(model, "success", share, of, about, **how)
            length = among_successes(success, distortion)
            yield measured(model, "distortion", length, of, **how)
        rough = among_successes(result.success, self.roughness)
        yield measured(model, "roughness", rough, of, **setting)
        if (cost := trial.cost) is not None:
            spent, exact = Estimate(cost, np.nan), {"exact": trial.exact}
            yield Record(model, trial.unit, setting, count, spent, about=exact)
        yield parts.exactly(model, "seconds_per_image", self.seconds, count, setting)


@dataclasses.dataclass(frozen=True, eq=False)
class Attacked:
    """The images of one model, for transfers and figures.

    Args:
        classify: The model.
        sample: The images attacked, of which it has all right.
        tried: What was done to them.
    """

    classify: Classify
    sample: Sample
    tried: dict[Case, Tried]

    @property
    def skipped(self) -> int:
        """Misclassified images that were passed over on the way to the last one."""
        return int(self.sample.index[-1]) + 1 - len(self.sample.index)

    def by(self, protocol: str) -> dict[str, Tried]:
        """What was done under one protocol, by title of the attack."""
        return {
            case.attack: tried
            for case, tried in self.tried.items()
            if case.protocol == protocol
        }


class Measurer:
    """Attacks models one by one, and shows each what fooled the others.

    Args:
        run: The settings of the evaluation.
        own: Those of the suite.
        trials: From `trials.make`.
        test: All test images.
    """

    def __init__(
        self,
        run: EvaluateConfig,
        own: SmoothSettings,
        trials: Mapping[Case, Trial],
        test: data.Dataset,
    ) -> None:
        self._run, self._own, self._trials, self._test = run, own, trials, test
        self.attacked: dict[str, Attacked] = {}

    def facts(self) -> dict[str, str]:
        """The settings, in words."""
        own = self._own
        skipped = ", ".join(
            f"{attacked.skipped} for {name}" for name, attacked in self.attacked.items()
        )
        return {
            "data": f"{self._run.dataset}, {len(self._test)} test images",
            "images": f"for each model the first {self._run.examples} that it "
            f"classifies correctly; wrong ones passed over: {skipped}",
            **{
                f"attack {case.attack}": attacks.spec(trial.attack)
                for case, trial in self._trials.items()
                if case.protocol == SMALLEST
            },
            "radii": self._radii(),
            "roughness": f"{own.smooth_kernel} kernel of bandwidth "
            f"{own.smooth_bandwidth:g}, {own.smooth_neighbors} neighbours",
            "bilateral filter": f"standard deviations {own.filter_std:g} pixels and "
            f"{own.filter_range:.4g} of pixel values",
        }

    def _radii(self) -> str:
        """Those of each norm, in words."""
        even = f"{self._own.radii}, evenly spaced, up to the eps of an attack"
        given = [
            f"{norm} {', '.join(map('{:g}'.format, radii))}"
            for norm in ("Linf", "L2")
            if (radii := self._own.given_radii(norm))
        ]
        return "; ".join([*given, *([] if len(given) == 2 else [even])])

    def measure(self, model: Loaded) -> Iterator[Record]:
        """What attacks do to one model, whose images are kept in `attacked`."""
        accuracy = parts.accuracy(self._run, model, self._test)
        yield accuracy
        sample = self._sample(model, np.asarray(accuracy.values, bool))
        done = self._try_all(model, sample)

        def classify(images: tf.Tensor) -> np.ndarray:
            return np.argmax(parts.logits_of(model, images), axis=-1)

        tried = {case: done[trial] for case, trial in self._trials.items()}
        attacked = self.attacked[model.name] = Attacked(classify, sample, tried)
        about = {"images_from": sample.origin, "skipped": attacked.skipped}
        for case, each in tried.items():
            yield from each.records(model.name, sample.first(), about, **case.setting)
        yield from self._robust_accuracy(model.name, attacked)

    def _sample(self, model: Loaded, correct: np.ndarray) -> Sample:
        count = self._run.examples
        if correct.sum() < count:
            raise UsageError(
                f"--examples={count} is more than the {correct.sum()} of "
                f"{len(correct)} test images that --model={model.source} classifies "
                "correctly."
            )
        return samples.first_correct(self._test, correct, count)

    def _robust_accuracy(self, model: str, attacked: Attacked) -> Iterator[Record]:
        """The accuracy that each attack leaves of the correct images, at any radius."""
        of, correct = (
            attacked.sample.first(),
            np.ones(len(attacked.sample.labels), bool),
        )
        how: dict[str, Any] = {"split": "test", "attacked": True, "among": "correct"}
        yield measured(model, "accuracy", correct, of, **how)
        for title, tried in attacked.by(SMALLEST).items():
            attack, results = tried.trial.attack, {SMALLEST: tried.result}
            if title in attacked.by(AT_EPS):
                results[AT_EPS] = attacked.by(AT_EPS)[title].result
            evaluation = attacks.Evaluation(
                labels=attacked.sample.labels,
                clean_correct=correct,
                results=results,
            )
            robust = suite_attacks.RobustAccuracy(self._run, model, evaluation, of)
            yield from robust.records(
                [(name, None) for name in results],
                [attack],
                attack=title,
                threat_model=suite_attacks.threat_model(attack),
                eps=attack.budget,
                among="correct",
            )

    def _try_all(self, model: Loaded, sample: Sample) -> dict[Trial, Tried]:
        """Each trial on every image, under one bar that counts gradients."""
        trials = list(dict.fromkeys(self._trials.values()))
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
        results, roughness, seconds = [], [], 0.0
        for place, (images, labels) in enumerate(sample.batches(self._run.batch_size)):
            if not place:
                _compile(model, trial, images, labels)
            began = time.perf_counter()
            results.append(_result(model, trial, images, labels))
            seconds += time.perf_counter() - began
            graph = smoothing.grid_graph(images, **self._own.graph)
            roughness.append(graph.roughness(results[-1].adversarial - images).numpy())
            shown.update((trial.cost or 1) * len(images))
        in_l2 = attacks.ThreatModel(2)
        result = attacks.AttackOutcome(threat=in_l2, **parts.joined(results)._asdict())
        rough = np.concatenate(roughness)
        return Tried(trial, result, rough, seconds / len(rough))

    def transfers(self) -> Iterator[Record]:
        """Whether what fools a model fools it behind the filter, and the others."""
        own = self._own
        for name, source in self.attacked.items():
            filtered = behind_filter(source.classify, own.filter_std, own.filter_range)
            targets = {FILTERED: filtered} | {
                other: attacked.classify
                for other, attacked in self.attacked.items()
                if other != name
            }
            for target, classify in targets.items():
                yield from self._transfer(name, source, target, classify)

    def _transfer(
        self, name: str, source: Attacked, target: str, classify: Classify
    ) -> Iterator[Record]:
        tries = {
            case: tried
            for case, tried in source.tried.items()
            if case.protocol != BUDGET
        }
        moved = transfer(
            classify,
            source.sample.images,
            {str(case): tried.images for case, tried in tries.items()},
            {str(case): tried.result.success for case, tried in tries.items()},
            self._run.batch_size,
        )
        of = source.sample.first()
        pair: dict[str, Any] = {"source": name, "target": target}
        yield measured(name, "target_accuracy", moved.clean_correct, of, **pair)
        for case, tried in tries.items():
            fooled, how = moved.fooled[str(case)], pair | case.setting
            counted = np.where(moved.counted(str(case)), fooled, np.nan)
            yield measured(name, "transfer", counted, of, **how)
            right = np.where(tried.result.success, moved.clean_correct, np.nan)
            yield measured(name, "target_accuracy", right, **how)
            yield measured(name, "target_error", fooled, of, **how)


def _compile(model: Loaded, trial: Trial, images: Any, labels: Any) -> None:
    """Lets the attack be compiled, on an image that leaves it nothing to do.

    A label that is not what the model says is a success before it begins.
    """
    trial.attack(model.call, images[:1], (labels[:1] + 1) % model.classes)


def _result(model: Loaded, trial: Trial, images: Any, labels: Any) -> AttackResult:
    """The result; with radii, rounded images are chosen by themselves."""
    if trial.radii:
        result, rounded = analysis.smallest_successes(
            trial.attack, model.call, images, labels, trial.radii, norm=2
        )
        return result._replace(
            success_rounded=rounded.success_rounded,
            distortion_rounded=rounded.distortion_rounded,
        )
    result = trial.attack(model.call, images, labels)
    if trial.attack.threat.norm == 2:
        return result
    return analysis.remeasure(result, images, norm=2)
