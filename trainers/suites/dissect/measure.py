"""Measures what the paper that dissects adversarial examples reports, and then some.

Dissecting Local Properties of Adversarial Examples: tables 1 to 5, figures 1 to 3 and 5
to 9; then the measures of this and the other papers, model by model.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust import analysis, attacks, data, geometry
from tfrobust.cli.loading import Loaded, load_classifier
from tfrobust.cli.program import UsageError, is_watched
from tfrobust.cli.records import Record, Records, measured
from trainers.suites import attacks as suite_attacks
from trainers.suites import parts, samples
from trainers.suites.dissect import measures, potential
from trainers.suites.dissect.results import Attacked, ModelResults
from trainers.suites.dissect.suite import DissectSettings
from trainers.suites.options import EvaluateConfig

DEFAULT_ATTACKS = (
    "pgd:norm=inf,eps=8/255,steps=20,step_size=1/255",
    "fgsm:norm=inf,eps=8/255",
)
"""The paper's (DIS-S4): PGD from a random start; FGSM for Tables 2, 4 and Figure 7."""

KINDS = ("low", "high")
"""The parts of a spectrum, below and above a threshold."""

STATISTICS = ("maximum", "total", "relative")
"""What is taken over the differences of a layer's features."""

BANDS = (0.0, 0.25, 0.5, 0.75, 1.0, math.sqrt(2.0))
"""Edges of the bands in which spectra are compared."""

# By how much rounding may keep a change from the bound of a ball.
_ROUNDING = 1e-5


class Measurer:
    """Measures models one by one, and shows each one's images to those before.

    Args:
        run: The settings of the evaluation.
        own: Those of the suite.
        made: The attacks, by title.
        runs: From `checkpoints.find_runs`.
        test: All test images.

    Attributes:
        results: What figures show, by model.
        epochs: What the first attack did to the network of each epoch, by run.
    """

    def __init__(
        self,
        run: EvaluateConfig,
        own: DissectSettings,
        made: dict[str, attacks.Attack],
        runs: Mapping[str, Mapping[int, pathlib.Path]],
        test: data.Dataset,
    ) -> None:
        self.run, self.own, self.attacks, self._runs = run, own, made, runs
        self._test = test
        self.sample = samples.draw(test, run.examples, run.seed)
        self.pixels = self.sample.pixels
        self.natural = analysis.log_amplitude(self.pixels)
        self.results: dict[str, ModelResults] = {}
        self.epochs: dict[str, dict[int, Attacked]] = {}
        self._records: list[Record] = []

    @property
    def first(self) -> str:
        """Title of the first attack."""
        return next(iter(self.attacks))

    def facts(self) -> dict[str, str]:
        """The settings, in words."""
        runs = (f"{name}: {len(epochs)} epochs" for name, epochs in self._runs.items())
        return {
            "data": f"{self.run.dataset}, {len(self._test)} test images",
            "attacks": "; ".join(suite_attacks.words(self.attacks)),
            "geometry": f"{self.own.geometry_examples} of the attacked images, "
            f"{self.own.power_iterations} power iterations",
            "layers": self.own.dissect_layers or "of each network's own choice",
            "checkpoints": ", ".join(runs) or "none",
        }

    def measure(self, model: Loaded) -> list[Record]:
        """Everything on one model, and what its images do to those before."""
        robust, attacked = self._attack(model, self.run.examples, self.attacks)
        records = [parts.accuracy(self.run, model, self._test), *robust]
        adversarial = attacked[self.first].adversarial
        difference = analysis.log_amplitude(adversarial) - self.natural
        curves = self._curves(model, adversarial)
        own = ModelResults(model, attacked, curves, difference, {})
        records += [
            *self._curve_records(model, curves),
            *self._spectrum(model, difference),
            *self._geometry(model),
            *self._last(model, own),
            *self._kernels(model),
        ]
        for name, other in self.results.items():
            records += self._transfer(name, other, own)
            records += self._transfer(model.name, own, other)
        self.results[model.name] = own
        self._records += records
        return records

    def finish(self) -> list[Record]:
        """What the first attack does after each epoch of each run, and correlations.

        Raises:
            UsageError: If a network cannot be attacked, as one that has diverged.
        """
        records: list[Record] = []
        made = {self.first: self.attacks[self.first]}
        for name, epochs in self._runs.items():
            kept = self.epochs.setdefault(name, {})
            for epoch, path in parts.bar(list(epochs.items()), name):
                model = load_classifier(path, flag="checkpoints", name=name)
                try:
                    robust, attacked = self._attack(
                        model, self.own.checkpoint_examples, made, epoch=epoch
                    )
                except ValueError as error:
                    raise UsageError(f"--checkpoints={path}: {error}") from error
                records += robust
                records += _squares(model, epoch)
                kept[epoch] = attacked[self.first]
        every, models = Records(self._records), list(self.results)
        return [*records, *measures.correlations(every, models, self.first)]

    def _attack(
        self,
        model: Loaded,
        count: int,
        made: Mapping[str, attacks.Attack],
        **setting: Any,
    ) -> tuple[list[Record], dict[str, Attacked]]:
        """Attacks the first images; what was measured, and what figures need of it."""
        pixels, of = self.pixels[:count], self.sample.first(count)
        evaluation = attacks.evaluate(
            model.call,
            (pixels, of.labels),
            made,
            batch_size=self.run.batch_size,
            keep_images=True,
            progress=is_watched(),
        )
        records = [
            dataclasses.replace(record, setting={**record.setting, **setting})
            for record in suite_attacks.robustness(
                self.run, model.name, evaluation, of, made
            )
        ]
        kept = {}
        for title, outcome in evaluation.results.items():
            adversarial = potential.examples(
                model,
                made[title],
                pixels,
                of.labels,
                np.asarray(outcome.adversarial),
                self.run.batch_size,
            )
            response = self._response(model, pixels, adversarial)
            one = kept[title] = Attacked(outcome, adversarial, response)
            about = {**setting, "attack": title}
            records += self._consistency(model, made[title], one, about)
            for group, chosen in one.groups.items():
                records += _responses(model, response, chosen, of, about, group)
        return records, kept

    def _parts(self, count: int) -> list[slice]:
        """So many images, a batch at a time."""
        size = self.run.batch_size
        return [slice(at, min(at + size, count)) for at in range(0, count, size)]

    def _consistency(
        self,
        model: Loaded,
        attack: attacks.Attack,
        one: Attacked,
        about: dict[str, Any],
    ) -> Iterator[Record]:
        """Local consistency of the perturbations that fooled the model."""
        eps = attack.threat.eps or 1.0
        of = self.sample.first(len(one.adversarial))
        changes = one.adversarial - self.pixels[: len(one.adversarial)]
        statistics = analysis.perturbation_statistics(
            changes, eps, min(_ROUNDING, eps / 2)
        )
        quantities = ["sign_agreement", "total_variation_ratio"]
        if attack.threat.norm == "inf" and attack.threat.eps:
            quantities.append("share_at_bound")
        for key in quantities:
            values = _among(getattr(statistics, key), one.broken)
            yield measured(model.name, key, values, of, **about)
        above = self.own.dissect_high
        shares = [
            analysis.high_frequency_share(changes[part], above)
            for part in self._parts(len(changes))
        ]
        high = _among(np.concatenate(shares), one.broken)
        about = {**about, "above": above}
        yield measured(model.name, "high_frequency_share", high, of, **about)

    def _response(
        self, model: Loaded, natural: np.ndarray, adversarial: np.ndarray
    ) -> analysis.LocalResponse | None:
        if model.kind != "Keras":
            return None
        return analysis.local_response(
            model.call, natural, adversarial, self.own.layers, self.run.batch_size
        )

    def _curves(
        self, model: Loaded, adversarial: np.ndarray
    ) -> dict[tuple[str, str], analysis.AccuracyCurve]:
        scales = np.linspace(0.0, math.sqrt(2.0), self.own.dissect_scales)
        settings: dict[str, Any] = {
            "scales": scales.tolist(),
            "batch_size": self.run.batch_size,
        }
        labels = self.sample.labels
        shown = {"natural": self.pixels, "adversarial": adversarial}
        curves = {}
        try:
            for kind in KINDS:
                for name, images in shown.items():
                    curves[name, kind] = analysis.filtered_accuracy(
                        model.call, images, labels, kind=kind, **settings
                    )
            for kind in KINDS:
                curves["swapped", kind] = analysis.swapped_accuracy(
                    model.call, self.pixels, adversarial, labels, kind=kind, **settings
                )
        except tf.errors.InvalidArgumentError:
            # What `export` writes checks its input, and filters lead out of [0, 1].
            return {}
        return curves

    def _curve_records(
        self, model: Loaded, curves: dict[tuple[str, str], analysis.AccuracyCurve]
    ) -> Iterator[Record]:
        for (images, kind), curve in curves.items():
            swapped = images == "swapped"
            quantity = "swapped_accuracy" if swapped else "filtered_accuracy"
            for scale, correct in zip(curve.scales, curve.correct, strict=True):
                about: dict[str, Any] = {"kind": kind, "scale": float(scale)}
                if not swapped:
                    about["images"] = images
                yield measured(model.name, quantity, correct, **about)

    def _spectrum(self, model: Loaded, difference: np.ndarray) -> Iterator[Record]:
        """Mean log-amplitudes over bands of the scale."""
        radius = analysis.frequency_radius(*self.natural.shape)
        spectra = {
            "log_amplitude": self.natural,
            "log_amplitude_difference": difference,
        }
        for quantity, spectrum in spectra.items():
            for low, high in zip(BANDS, BANDS[1:], strict=False):
                band = (radius > low) & (radius <= np.float32(high))
                value = float(spectrum[band].mean()) if band.any() else math.nan
                about = {"above": low, "up_to": high}
                yield parts.exactly(
                    model.name, quantity, value, len(self.pixels), about
                )

    def _geometry(self, model: Loaded) -> Iterator[Record]:
        count = self.own.geometry_examples
        measured_geometry = geometry.measure(
            model.call,
            (self.pixels[:count], self.sample.labels[:count]),
            power_iterations=self.own.power_iterations,
            batch_size=self.run.batch_size,
        )
        about = {
            "power_iterations": self.own.power_iterations,
            "images_from": self.sample.origin,
        }
        for key in ("gradient_norm", "hessian_norm", "curvature"):
            yield measured(
                model.name,
                key,
                getattr(measured_geometry, key),
                self.sample.first(count),
                about,
                split="test",
            )

    def _last(self, model: Loaded, own: ModelResults) -> Iterator[Record]:
        """Differences in the deepest layer looked at, under the first attack."""
        if own.main.response is None:
            return
        for statistic in ("maximum", "relative"):
            values = getattr(own.main.response, statistic)[:, -1]
            yield measured(
                model.name,
                "last_difference",
                _among(values, own.main.broken),
                statistic=statistic,
                attack=self.first,
            )

    def _kernels(self, model: Loaded) -> Iterator[Record]:
        """Smoothness of each convolution, and its mean over those that have any."""
        if model.kind != "Keras":
            return
        kernels = analysis.kernel_smoothness(model.call)
        for row in kernels:
            about = {"layer": row.name, "size": "x".join(map(str, row.size))}
            yield parts.exactly(
                model.name, "kernel_variation", row.variation, len(kernels), about
            )
        values = [row.variation for row in kernels if not math.isnan(row.variation)]
        mean = float(np.mean(values)) if values else math.nan
        yield parts.exactly(model.name, "kernel_variation", mean, len(values), {})

    def _transfer(
        self, source: str, own: ModelResults, target: ModelResults
    ) -> Iterator[Record]:
        """What one model's adversarial examples do to another."""
        adversarial = own.main.adversarial
        transfer = analysis.transfer(
            lambda shown: np.argmax(parts.logits_of(target.model, shown), axis=-1),
            self.pixels,
            {self.first: adversarial},
            {self.first: own.main.broken},
            self.run.batch_size,
            labels=self.sample.labels,
            clean_correct=~target.main.outcome.already,
        )
        counted, fooled = transfer.counted(self.first), transfer.fooled[self.first]
        response = self._response(target.model, self.pixels, adversarial)
        target.transferred[source] = counted, response
        of, name = self.sample.first(), target.model.name
        about: dict[str, Any] = {"source": source, "attack": self.first}
        yield measured(name, "transfer", _among(fooled, counted), of, **about)
        yield measured(name, "transfer_accuracy", ~fooled, of, **about)
        groups = {"transferred all": np.ones_like(counted), "transferred": counted}
        for group, chosen in groups.items():
            yield from _responses(target.model, response, chosen, of, about, group)


def _among(values: Any, chosen: np.ndarray) -> np.ndarray:
    """NaN where an image was not chosen."""
    return np.where(chosen, values, np.nan)


def _squares(model: Loaded, epoch: int) -> Iterator[Record]:
    """Sum of the squares of all weights that training moves, after an epoch."""
    # Epochs are Keras models.
    moved = getattr(model.call, "trainable_weights", ())
    weights = [np.asarray(weight, np.float64) for weight in moved]
    total = math.fsum(float(np.sum(weight**2)) for weight in weights)
    count = sum(weight.size for weight in weights)
    yield parts.exactly(model.name, "squared_weights", total, count, {"epoch": epoch})


def _responses(
    model: Loaded,
    response: analysis.LocalResponse | None,
    chosen: np.ndarray,
    of: Any,
    about: Mapping[str, Any],
    group: str,
) -> Iterator[Record]:
    """Local response differences of the chosen images, layer by layer."""
    if response is None:
        return
    for place, layer in enumerate(response.layers):
        for statistic in STATISTICS:
            column = getattr(response, statistic)[:, place]
            yield measured(
                model.name,
                "local_response",
                _among(column, chosen),
                of,
                **about,
                group=group,
                layer=layer,
                statistic=statistic,
            )
