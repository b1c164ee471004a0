"""Measures what the LCNN paper reports: accuracy, PGD, geometry, stability.

Srinivas et al. 2022, Efficient Training of Low-Curvature Neural Networks: tables 1 to 3
(LCNN-T1 to T3), figure 2 (LCNN-F2) and equation 1 (LCNN-E1).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust import attacks, data, geometry
from tfrobust.cli.loading import Loaded
from tfrobust.cli.program import UsageError, is_watched
from tfrobust.cli.records import Record, measured
from tfrobust.core.fractions import Eps
from trainers.suites import attacks as suite_attacks
from trainers.suites import parts, samples
from trainers.suites.lcnn.suite import LcnnSettings
from trainers.suites.options import EvaluateConfig

DEFAULT_ATTACKS = ("pgd:norm=2,steps=20",)
"""The attack of table 2, whose steps the paper does not say."""

# Figure 2 of the paper: from 1e-3 to 1e-1 (LCNN-S5).
RADII = tuple(np.geomspace(1e-3, 1e-1, 7).tolist())

LINEARIZATION_RADII = (0.01, 0.1)
"""Of equation 1. Below 0.01 float32 rounds away what a nearly linear loss has left."""

QUANTITIES = ("gradient_norm", "hessian_norm", "curvature")
"""What `geometry.measure` measures."""

COMPARED = QUANTITIES
"""The quantities of which training and test images are compared."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """One attack of `--attack` over all radii.

    Args:
        attack: As it was named; its own radius is not used.
        at: The attack at each radius, by a name of its own. An attack without a radius
            runs once, and its distortions say what it does within one.
    """

    attack: attacks.Attack
    at: Mapping[Eps, tuple[str, attacks.Attack]]

    def words(self, title: str) -> str:
        """The attack and its settings, for a sentence."""
        return suite_attacks.words({title: self.attack})[0]

    @property
    def searches(self) -> bool:
        """Whether the attack looks for the smallest perturbation by itself."""
        return self.attack.threat.eps is None


def make_attacks(run: EvaluateConfig, own: LcnnSettings) -> dict[str, Curve]:
    """Every attack at every eps, by title; `UsageError` if there is no such attack."""
    curves: dict[str, Curve] = {}
    for text in run.attack or DEFAULT_ATTACKS:
        at: dict[Eps, tuple[str, attacks.Attack]] = {}
        for eps in own.eps:
            attack = suite_attacks.parse(run, text, eps=eps.value)
            if attack.threat.eps not in (None, eps.value):
                raise UsageError(
                    f"--attack={text}: in this suite --eps sets the radii."
                )
            at[eps] = (f"{text} at {eps}", attack)
        if any(attack == curve.attack for curve in curves.values()):
            raise UsageError(f"--attack={text} is given twice.")
        title = _title(attack)
        if attack.threat.eps is None:
            at = {eps: (text, attack) for eps in own.eps}
        curves[text if title in curves else title] = Curve(attack, at)
    return curves


def _title(attack: attacks.Attack) -> str:
    """The title of an attack without its radius."""
    title = attacks.title(attack)
    return title if attack.threat.eps is None else title.rpartition(" ")[0]


class Measurer:
    """Measures models one by one, on images that it draws once.

    Args:
        run: The settings of the evaluation.
        own: Those of the suite.
        curves: From `make_attacks`.
        train: All training images.
        test: All test images.
    """

    def __init__(
        self,
        run: EvaluateConfig,
        own: LcnnSettings,
        curves: dict[str, Curve],
        train: data.Dataset,
        test: data.Dataset,
    ) -> None:
        self._run, self._own, self._curves = run, own, curves
        self._train, self._test = train, test
        self._attacked, self._looked_at = (
            samples.draw(test, count, run.seed)
            for count in (run.examples, own.geometry_examples)
        )

    def facts(self) -> dict[str, str]:
        """The settings, in words."""
        return {
            "data": f"{self._run.dataset}, {len(self._test)} test images, "
            f"{len(self._train)} training images",
            "attacks": ", ".join(
                curve.words(title) for title, curve in self._curves.items()
            ),
            "eps": ", ".join(map(str, self._own.eps)),
            "geometry": f"{self._own.geometry_examples} test and as many training "
            f"images, {self._own.power_iterations} power iterations",
        }

    def measure(self, model: Loaded) -> list[Record]:
        """Everything on one model."""
        return [
            parts.accuracy(self._run, model, self._test),
            *self._robustness(model),
            *self._geometry(model),
        ]

    def _robustness(self, model: Loaded) -> Iterator[Record]:
        """Accuracy at each eps, over the successes of all attacks up to that eps."""
        made = dict(pair for each in self._curves.values() for pair in each.at.values())
        batches = self._attacked.batches(self._run.batch_size)
        evaluation = attacks.evaluate(model.call, batches, made, progress=is_watched())
        of = self._attacked.first()
        correct = evaluation.clean_correct
        yield measured(model.name, "accuracy", correct, of, split="test", attacked=True)
        together = suite_attacks.RobustAccuracy(self._run, model.name, evaluation, of)
        for title, curve in self._curves.items():
            yield from self._over_eps(together, title, [curve])
            yield from self._alone(model, evaluation, title, curve)
        if len(self._curves) > 1:
            yield from self._over_eps(together, "all", [*self._curves.values()])

    def _over_eps(
        self, robust: suite_attacks.RobustAccuracy, title: str, curves: Sequence[Curve]
    ) -> Iterator[Record]:
        """Robust accuracy at each eps, exact and rounded to 8 bits."""
        norms = {suite_attacks.threat_model(curve.attack) for curve in curves}
        for eps in self._own.eps:
            counted = [
                (name, attack, curve.searches)
                for curve in curves
                for radius, (name, attack) in curve.at.items()
                if radius <= eps
            ]
            yield from robust.records(
                [(name, eps.value if free else None) for name, _, free in counted],
                [attack for _, attack, _ in counted],
                attack=title,
                threat_model=", ".join(sorted(norms)),
                eps=eps.value,
            )

    def _alone(
        self, model: Loaded, evaluation: attacks.Evaluation, title: str, curve: Curve
    ) -> Iterator[Record]:
        """What the attack did at each radius by itself."""
        of = self._attacked.first()
        for eps, (name, _) in curve.at.items():
            outcome = evaluation.results[name]
            setting: dict[str, Any] = {"attack": title}
            if not curve.searches:
                setting["eps"] = eps.value
            elif eps != next(iter(curve.at)):
                return
            yield from suite_attacks.effects(model.name, outcome, of, **setting)

    def _geometry(self, model: Loaded) -> Iterator[Record]:
        sample = samples.training_sample(
            model, self._train, self._run, self._own.geometry_examples
        )
        measure = functools.partial(
            geometry.measure,
            model.call,
            power_iterations=self._own.power_iterations,
            progress=is_watched(),
        )
        size = self._run.batch_size
        test = measure(self._looked_at.batches(size))
        train = measure(sample.batches(size))
        about = {"power_iterations": self._own.power_iterations}
        for part, of in ((test, self._looked_at), (train, sample)):
            for key in QUANTITIES:
                values = getattr(part, key)
                yield measured(
                    model.name,
                    key,
                    values,
                    of.first(),
                    about | {"images_from": of.origin},
                    split=of.split,
                )
        for key in COMPARED:
            difference = geometry.discrepancy(getattr(test, key), getattr(train, key))
            yield Record(
                model.name,
                "discrepancy",
                {"of": key},
                len(sample.index),
                difference,
                about={"relative_to": "train"},
            )
        yield from self._stability(model, test)
        yield from self._linearization(model, test)

    def _stability(self, model: Loaded, test: geometry.Measurement) -> Iterator[Record]:
        """Change of the gradient at each radius, and its bound."""
        bound = np.asarray(geometry.stability_bound(test.curvature, RADII))
        yield from self._with_bound(
            model, geometry.gradient_stability, RADII, "stability_bound", bound
        )

    def _linearization(
        self, model: Loaded, test: geometry.Measurement
    ) -> Iterator[Record]:
        """Relative local linearity, and its bound."""
        radii = LINEARIZATION_RADII
        bound = geometry.linearization_bound(test.curvature, np.array(radii)[:, None])
        yield from self._with_bound(
            model, geometry.linearization_error, radii, "linearization_bound", bound
        )

    def _with_bound(
        self,
        model: Loaded,
        measure: Callable[..., tf.Tensor],
        radii: Sequence[float],
        bound_name: str,
        bound: np.ndarray,
    ) -> Iterator[Record]:
        """What a function of random noise measures at each radius, and its bound."""
        found = self._over_noise(model, measure, radii)
        for place, radius in enumerate(radii):
            setting: dict[str, Any] = {"radius": float(radius)}
            if found is not None:
                yield measured(
                    model.name,
                    measure.__name__,
                    found[place],
                    self._looked_at.first(),
                    **setting,
                )
            yield measured(model.name, bound_name, bound[place], **setting)

    def _over_noise(
        self, model: Loaded, measure: Callable[..., tf.Tensor], radii: Sequence[float]
    ) -> np.ndarray | None:
        """Float `[R, N]`; `None` if the model refuses the noisy images."""
        batches: Any = self._looked_at.batches(self._run.batch_size)
        title = measure.__name__.replace("_", " ")
        try:
            found = [
                np.asarray(
                    measure(model.call, images, labels, radii, seed=self._run.seed)
                )
                for images, labels in parts.bar(batches, title)
            ]
        except tf.errors.InvalidArgumentError:
            # What `export` writes checks its input, and noise leads out of [0, 1].
            return None
        return np.concatenate(found, axis=1)
