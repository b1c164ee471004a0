"""Measures what the paper on perceptually aligned gradients reports.

Ganz, Kawar and Elad 2023, Do Perceptually Aligned Gradients Imply Adversarial
Robustness?: tables 1, 2 and 4, figures 1, 4 and 5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrobust import analysis, attacks, data, pag
from tfrobust.cli.loading import Loaded, find_model, load_classifier
from tfrobust.cli.program import UsageError, is_watched
from tfrobust.cli.records import Record, measured
from tfrobust.core.fractions import Eps
from trainers.suites import attacks as suite_attacks
from trainers.suites import parts, samples
from trainers.suites.options import EvaluateConfig
from trainers.suites.pag.suite import PagSettings

DEFAULT_ATTACKS = ("pgd:norm=inf,eps=0.031,steps=20", "pgd:norm=2,eps=0.5,steps=20")
"""The paper's: 20 steps of 2 eps / 20 from a random start."""

# Added to the seed that draws a sample of the training data.
_OTHER_SAMPLE = 10_000


def make_attacks(run: EvaluateConfig, own: PagSettings) -> dict[str, attacks.Attack]:
    """The attacks by title; `UsageError` if --masking cannot go with them."""
    made = suite_attacks.make(run, DEFAULT_ATTACKS)
    if own.masking and not masked_balls(made):
        raise UsageError(
            "--masking needs an --attack that has a radius above 0, in L2 or Linf."
        )
    return made


def masked_balls(made: dict[str, attacks.Attack]) -> dict[str, attacks.Attack]:
    """The attacks within whose balls signs of masking are looked for."""
    return {
        title: attack
        for title, attack in made.items()
        if attack.threat.eps and attack.threat.norm in (2, "inf")
    }


def probe_steps(attack: attacks.Attack) -> int:
    """Steps of PGD in the check within an attack's ball: the attack's own, if any."""
    return getattr(attack, "steps", 20)


def load_judge(run: EvaluateConfig, own: PagSettings) -> Loaded | None:
    """The classifier of --judge, if any; `UsageError` if it cannot be one."""
    if not own.judge:
        return None
    info = samples.check(run, {})
    judge = load_classifier(own.judge, flag="judge")
    judge.check(info.image_shape, info.classes, run.dataset)
    if judge.source in [find_model(path) for path in run.model]:
        raise UsageError(
            f"--judge={own.judge} must be another classifier than each --model, "
            "whose own images it judges."
        )
    return judge


class Measurer:
    """Measures models one by one, on images that it draws once.

    Args:
        run: The settings of the evaluation.
        own: Those of the suite.
        made: The attacks, from `make_attacks`.
        judge: From `load_judge`.
        train: All training images.
        test: All test images.

    Attributes:
        shown: Of each model float32 `[S,K,H,W,C]`, the first images moved farthest.
    """

    def __init__(
        self,
        run: EvaluateConfig,
        own: PagSettings,
        made: dict[str, attacks.Attack],
        judge: Loaded | None,
        train: data.Dataset,
        test: data.Dataset,
    ) -> None:
        self.run, self.own, self.attacks, self.judge = run, own, made, judge
        self._train_size, self._test = len(train), test
        self.class_names = test.class_names
        self._directions = _directions(run, own, train)
        self.attacked, self.moved = (
            samples.draw(test, count, run.seed)
            for count in (run.examples, own.pag_moved)
        )
        self.shown: dict[str, np.ndarray] = {}

    def facts(self) -> dict[str, str]:
        """The settings, in words."""
        own, judge = self.own, self.judge
        return {
            "data": f"{self.run.dataset}, {len(self._test)} test images, "
            f"{self._train_size} training images",
            "attacks": ", ".join(suite_attacks.words(self.attacks)),
            "directions": "from all training images to the class means, and from "
            f"{own.pag_samples} of each class to the nearest one",
            "moved images": f"{own.pag_moved}, by targeted L2 PGD of "
            f"{own.pag_moved_steps} steps from the image itself, within L2 radii of "
            + ", ".join(map(str, own.pag_moved_eps)),
            "judge": f"{judge.name}, {own.judge}" if judge else "none",
        }

    def measure(self, model: Loaded) -> list[Record]:
        """Everything on one model."""
        return [
            parts.accuracy(self.run, model, self._test),
            *self._robustness(model),
            *self._alignment(model),
            *self._recognized(model),
            *self._masking(model),
        ]

    def _robustness(self, model: Loaded) -> Iterator[Record]:
        batches = self.attacked.batches(self.run.batch_size)
        evaluation = attacks.evaluate(
            model.call, batches, self.attacks, progress=is_watched()
        )
        yield from suite_attacks.robustness(
            self.run, model.name, evaluation, self.attacked.first(), self.attacks
        )

    def _alignment(self, model: Loaded) -> Iterator[Record]:
        """Cosines of the class gradients, by where the directions are from."""
        # Every image takes a pass back for each class.
        size = max(1, self.run.batch_size // model.classes)
        for towards, directions in self._directions.items():
            cosines = analysis.alignment(
                model.call, self.attacked.pixels, directions, size
            ).cosines
            mean = np.mean(cosines, axis=1, dtype=np.float64)
            of = self.attacked.first()
            yield measured(model.name, "cosine", mean, of, towards=towards)
            for place, name in enumerate(self.class_names):
                setting: dict[str, Any] = {"towards": towards, "class": name}
                yield measured(model.name, "cosine", cosines[:, place], of, **setting)

    def _recognized(self, model: Loaded) -> Iterator[Record]:
        """What judges recognise in images that the model moved towards every class."""
        for eps in self.own.pag_moved_eps:
            moved = self._moved(model, eps)
            yield from self._judged(model, model, "itself", eps, moved)
            if self.judge:
                yield from self._judged(model, self.judge, "judge", eps, moved)
            self.shown[model.name] = moved[: self.own.pag_shown]

    def _moved(self, model: Loaded, eps: Eps) -> np.ndarray:
        return analysis.towards_classes(
            model.call,
            self.moved.pixels,
            eps=eps.value,
            steps=self.own.pag_moved_steps,
            classes=model.classes,
            batch_size=self.run.batch_size,
        )

    def _judged(
        self, model: Loaded, judge: Loaded, name: str, eps: Eps, moved: np.ndarray
    ) -> Iterator[Record]:
        agreement = analysis.agreement(
            judge.call, moved, self.run.batch_size, self.moved.pixels
        )
        hits = np.where(np.asarray(agreement.counted), agreement.reached(), np.nan)
        shares = agreement.shares()
        setting: dict[str, Any] = {"judge": name, "eps": eps.value}
        of, about = self.moved.first(), {"judged_by": judge.name}
        yield measured(model.name, "recognised", shares, of, about, **setting)
        for place, title in enumerate(self.class_names):
            setting["class"] = title
            values = hits[:, place]
            yield measured(model.name, "recognised", values, of, about, **setting)

    def _masking(self, model: Loaded) -> Iterator[Record]:
        """Signs of masked gradients within the ball of each attack that has one."""
        own, count = self.own, self.own.masking_examples
        for title, attack in masked_balls(self.attacks).items() if own.masking else ():
            report = analysis.masking_check(
                model.call,
                self.attacked.pixels[:count],
                self.attacked.labels[:count],
                norm=attack.threat.norm,
                eps=attack.threat.eps or 0.0,
                restarts=own.masking_restarts,
                steps=probe_steps(attack),
                queries=own.masking_queries,
                seed=self.run.seed,
                batch_size=self.run.batch_size,
            )
            for probe, accuracy in report.table():
                setting = {"within": title, "probe": probe}
                yield Record(model.name, "masking_accuracy", setting, count, accuracy)
            yield from _signs(model.name, title, count, report)


def _signs(
    model: str, within: str, images: int, report: analysis.MaskingReport
) -> Iterator[Record]:
    """Whether there was any sign of masking, then each sign and why."""
    ball: dict[str, Any] = {"within": within}
    yield parts.exactly(model, "masked", report.masked, images, ball)
    for sign, finding in report.signs.items():
        record = parts.exactly(
            model, "masked", finding.present, images, {**ball, "sign": sign}
        )
        yield dataclasses.replace(record, about={"reason": finding.reason})


def _directions(
    run: EvaluateConfig, own: PagSettings, train: data.Dataset
) -> dict[str, pag.Directions]:
    """Where gradients might point, from training images; `UsageError` if too few."""
    examples = train.images, train.labels, train.classes
    # Not those that a training of the same seed has been aligned with.
    count, seed = own.pag_samples, run.seed + _OTHER_SAMPLE
    try:
        return {
            "class mean": pag.ClassMean(*examples),
            "nearest neighbour": pag.NearestNeighbor(
                *examples, samples=count, seed=seed
            ),
        }
    except ValueError as error:
        raise UsageError(f"--dataset={run.dataset}: {error}") from error
