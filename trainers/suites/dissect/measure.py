"""Measures what the paper that dissects adversarial examples reports, and then some.

Dissecting Local Properties of Adversarial Examples: tables 1 to 5, figures 1 to 3 and 5
to 9; then the measures of this and the other papers, model by model.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrobust import analysis, attacks, data, geometry, training
from tfrobust.attacks import AttackResult
from tfrobust.cli.loading import Loaded, load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import RunFolder
from tfrobust.core.estimates import Estimate, mean
from trainers.suites import samples as evaluate_data
from trainers.suites.options import EvaluateConfig
from trainers.suites.parts import bar, clean_correct, joined, logits_of
from trainers.suites.samples import Sample
from trainers.suites.smooth.attacks import smoothing_settings

KINDS = ("low", "high")
"""The parts of a spectrum, below and above a threshold."""

# By how much rounding may keep a change from the bound of a ball.
_ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class Attacked:
    """What one attack did to one model.

    Args:
        attack: The attack.
        result: What it found, for all images.
        statistics: Local consistency of the perturbations.
        high: float32 `[N]`, share of their energy in high frequencies.
        response: How far they move the model's features; `None` of a SavedModel, whose
            layers cannot be looked at.
    """

    attack: attacks.Attack
    result: AttackResult
    statistics: analysis.PerturbationStatistics
    high: np.ndarray
    response: analysis.LocalResponse | None

    @property
    def found(self) -> np.ndarray:
        """Where a perturbation fooled the model that was right before; bool `[N]`."""
        return self.result.success & ~self.result.already

    @property
    def failed(self) -> np.ndarray:
        """Where no perturbation did; bool `[N]`."""
        return ~self.result.success

    @property
    def within_linf(self) -> bool:
        """Whether the ball is one of the L-infinity norm."""
        return self.attack.threat.norm == "inf"

    def responses(self) -> analysis.LocalResponse:
        """`response` of a model whose layers can be looked at.

        Raises:
            ValueError: If it is a SavedModel.
        """
        if self.response is None:
            raise ValueError("`response` must be there. Received: that of a SavedModel")
        return self.response

    def accuracy(self) -> Estimate:
        """Of the attacked images, the misclassified ones among them."""
        return mean(~self.result.success)

    def high_share(self) -> Estimate:
        """Mean share of high frequencies where it fooled the model."""
        shares = self.high[self.found]
        return mean(shares[~np.isnan(shares)])


@dataclasses.dataclass(frozen=True, eq=False)
class Transferred:
    """What one model's adversarial examples do to another.

    Args:
        counted: bool `[N]`: fooled their own model, and the other has the clean image
            right.
        fooled: bool `[N]`: whether the other is wrong about them.
        response: How far they move the other's features, if that can be seen.
    """

    counted: np.ndarray
    fooled: np.ndarray
    response: analysis.LocalResponse | None

    def rate(self) -> Estimate:
        """Share of the counted that fool the other; NaN if there are none."""
        return mean(self.fooled[self.counted])


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """All that was measured on one model.

    Args:
        clean_correct: bool, for each of the first test images.
        attacked: By the attack's name; the first is the one looked at most closely.
        filtered: Accuracy over the scale, by what was filtered ("natural" or
            "adversarial") and kind; empty of a model that takes no such images.
        swapped: The same of natural images with a part of the adversarial ones.
        difference: float32 `[H,W]`, mean log-amplitude of the adversarial images less
            that of the natural ones.
        geometry: Of the loss at the first images.
        kernels: Smoothness of each convolution; `None` of a SavedModel.
        transferred: From other models, by their name.
    """

    clean_correct: np.ndarray
    attacked: dict[str, Attacked]
    filtered: dict[tuple[str, str], analysis.AccuracyCurve]
    swapped: dict[str, analysis.AccuracyCurve]
    difference: np.ndarray
    geometry: geometry.Measurement
    kernels: list[analysis.KernelSmoothness] | None
    transferred: dict[str, Transferred] = dataclasses.field(default_factory=dict)

    @property
    def main(self) -> Attacked:
        """By the first attack."""
        return next(iter(self.attacked.values()))

    def accuracy(self) -> Estimate:
        """On the first test images."""
        return mean(self.clean_correct)

    def kernel_variation(self) -> Estimate:
        """Mean over the convolutions that have neighbouring weights."""
        found = [row.variation for row in self.kernels or ()]
        values = [value for value in found if not math.isnan(value)]
        # Not a sample: a mean, and no error.
        return Estimate(mean(values).value, math.nan)


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """What was measured on every model, and on what.

    Args:
        config: The settings.
        test_size: Test images there are.
        sample: The images attacked, the same for every model.
        natural: float32 `[H,W]`, their mean log-amplitude.
        models: By name.
        runs: What the first attack did to fewer of them, by name of the run and epoch.
    """

    config: EvaluateConfig
    test_size: int
    sample: Sample
    natural: np.ndarray
    models: dict[str, Measured] = dataclasses.field(default_factory=dict)
    runs: dict[str, dict[int, Attacked]] = dataclasses.field(default_factory=dict)


class Measurer:
    """Measures models one by one, and shows each one's images to those before.

    Args:
        config: The settings.
        attacks_by_name: From `make_attacks`.
        runs: From `find_runs`.
        test: All test images.
    """

    def __init__(
        self,
        config: EvaluateConfig,
        attacks_by_name: dict[str, attacks.Attack],
        runs: dict[str, dict[int, pathlib.Path]],
        test: data.Dataset,
    ) -> None:
        self._config, self._attacks, self._runs = config, attacks_by_name, runs
        self._test = test
        self._before: list[Loaded] = []
        sample = evaluate_data.draw(test, config.examples, config.seed)
        self._pixels = sample.images.images.astype(np.float32) / np.float32(255)
        self._labels = sample.images.labels
        natural = analysis.log_amplitude(self._pixels)
        self.findings = Findings(config, len(test), sample, natural)

    def measure(self, model: Loaded) -> None:
        """Everything on one model, kept in `findings` under its name."""
        correct = clean_correct(self._config, model, self._test)
        attacked = {
            name: self._attacked(model, attack, self._config.examples)
            for name, attack in self._attacks.items()
        }
        adversarial = next(iter(attacked.values())).result.adversarial
        filtered, swapped = self._curves(model, adversarial)
        one = Measured(
            correct,
            attacked,
            filtered,
            swapped,
            analysis.log_amplitude(adversarial) - self.findings.natural,
            self._geometry(model),
            analysis.kernel_smoothness(model.call) if _is_open(model) else None,
        )
        self.findings.models[model.name] = one
        for other in self._before:
            earlier = self.findings.models[other.name]
            one.transferred[other.name] = self._transferred(earlier.main, model, one)
            earlier.transferred[model.name] = self._transferred(
                one.main, other, earlier
            )
        self._before.append(model)

    def measure_runs(self) -> None:
        """What the first attack does after each epoch of each run.

        Raises:
            UsageError: If a network cannot be attacked, as one that has diverged.
        """
        attack = next(iter(self._attacks.values()))
        for name, epochs in self._runs.items():
            found = self.findings.runs.setdefault(name, {})
            for epoch, path in bar(list(epochs.items()), name):
                model = load_classifier(path, flag="checkpoints")
                count = self._config.checkpoint_examples
                try:
                    found[epoch] = self._attacked(model, attack, count)
                except ValueError as error:
                    raise UsageError(f"--checkpoints={path}: {error}") from error

    def _attacked(self, model: Loaded, attack: attacks.Attack, count: int) -> Attacked:
        pixels, labels = self._pixels[:count], self._labels[:count]
        size = self._config.batch_size
        batches = [
            (pixels[start : start + size], labels[start : start + size])
            for start in range(0, count, size)
        ]
        parts = [
            attack(model.call, *batch) for batch in bar(batches, type(attack).__name__)
        ]
        result = joined(parts)
        changes = result.adversarial - pixels
        eps = radius_of(attack)
        return Attacked(
            attack,
            result,
            analysis.perturbation_statistics(changes, eps, min(_ROUNDING, eps / 2)),
            self._high(changes),
            self._response(model, pixels, result.adversarial),
        )

    def _high(self, changes: np.ndarray) -> np.ndarray:
        size = self._config.batch_size
        parts = [
            analysis.high_frequency_share(
                changes[start : start + size], self._config.dissect_high
            )
            for start in range(0, len(changes), size)
        ]
        return np.concatenate(parts)

    def _response(
        self, model: Loaded, natural: np.ndarray, adversarial: np.ndarray
    ) -> analysis.LocalResponse | None:
        if not _is_open(model):
            return None
        return analysis.local_response(
            model.call,
            natural,
            adversarial,
            self._config.layer_names,
            self._config.batch_size,
        )

    def _curves(self, model: Loaded, adversarial: np.ndarray) -> tuple[dict, dict]:
        scales = np.linspace(0.0, math.sqrt(2.0), self._config.dissect_scales)
        settings: dict[str, Any] = {
            "scales": scales.tolist(),
            "batch_size": self._config.batch_size,
        }
        shown = {"natural": self._pixels, "adversarial": adversarial}
        try:
            filtered = {
                (name, kind): analysis.filtered_accuracy(
                    model.call, images, self._labels, kind=kind, **settings
                )
                for kind in KINDS
                for name, images in shown.items()
            }
            swapped = {
                kind: analysis.swapped_accuracy(
                    model.call,
                    self._pixels,
                    adversarial,
                    self._labels,
                    kind=kind,
                    **settings,
                )
                for kind in KINDS
            }
        except tf.errors.InvalidArgumentError:
            # What `export` writes checks its input, and filters lead out of [0, 1].
            return {}, {}
        return filtered, swapped

    def _geometry(self, model: Loaded) -> geometry.Measurement:
        count = self._config.geometry_examples
        return geometry.measure(
            model.call,
            (self._pixels[:count], self._labels[:count]),
            power_iterations=self._config.power_iterations,
            batch_size=self._config.batch_size,
        )

    def _transferred(
        self, source: Attacked, target: Loaded, there: Measured
    ) -> Transferred:
        adversarial = source.result.adversarial
        right = ~there.main.result.already
        return Transferred(
            source.found & right,
            self._answers(target, adversarial) != self._labels,
            self._response(target, self._pixels, adversarial),
        )

    def _answers(self, model: Loaded, images: np.ndarray) -> np.ndarray:
        size = self._config.batch_size
        starts = range(0, len(images), size)
        logits = [logits_of(model, images[start : start + size]) for start in starts]
        return np.argmax(np.concatenate(logits), axis=-1)


def make_attacks(config: EvaluateConfig) -> dict[str, attacks.Attack]:
    """The attacks asked for, by the names that the papers have for them.

    None stops at a success, after which it would hardly be beyond the boundary.

    Raises:
        UsageError: If there is no attack of these settings.
    """
    linf, l2, seed = config.dissect_linf, config.dissect_l2, config.seed
    settings: dict[str, Any] = {"steps": config.steps, "early_stop": False}
    settings["seed"] = seed
    # The smooth attack has one start, the image itself.
    pgd = {**settings, "restarts": config.restarts}
    step = config.dissect_step or None
    smoothing = smoothing_settings(config)
    makers: dict[str, Callable[[], attacks.Attack]] = {
        "pgd": lambda: attacks.PGD(norm="inf", eps=linf, step_size=step, **pgd),
        "fgsm": lambda: attacks.FGSM(eps=linf),
        "pgd2": lambda: attacks.PGD(norm=2, eps=l2, **pgd),
        "spgd2": lambda: attacks.SmoothPGD(norm=2, eps=l2, **settings, **smoothing),
    }
    names = {"pgd": "PGD", "fgsm": "FGSM", "pgd2": "PGD2", "spgd2": "sPGD2"}
    try:
        return {names[name]: makers[name]() for name in config.attack_names}
    except ValueError as error:
        raise UsageError(f"The attacks cannot be made: {error}") from error


def radius_of(attack: attacks.Attack) -> float:
    """The radius of its ball, which every attack of `make_attacks` has."""
    return attack.threat.eps or math.inf


def find_runs(config: EvaluateConfig) -> dict[str, dict[int, pathlib.Path]]:
    """The networks of --checkpoints, by run and epoch; each is loaded, to be checked.

    Raises:
        UsageError: If a folder holds none, two have one name, or a network does not fit
            the data or has other layers than the rest of its run.
    """
    found: dict[str, dict[int, pathlib.Path]] = {}
    for path in config.checkpoints:
        folder = pathlib.Path(path).expanduser()
        inside = RunFolder(folder).epochs
        epochs = training.kept_epochs(inside) or training.kept_epochs(folder)
        if not epochs:
            raise UsageError(
                f"--checkpoints={path} holds no epoch-NNN.keras, as trainers.cifar "
                "--keep_epochs=1 leaves them."
            )
        whole = folder.resolve()
        name = whole.parent.name if whole.name == inside.name else whole.name
        if name in found:
            raise UsageError(f"Two runs of --checkpoints are called {name!r}.")
        found[name] = epochs
    for path, epochs in zip(config.checkpoints, found.values(), strict=True):
        _check_run(config, path, epochs)
    return found


def _check_run(
    config: EvaluateConfig, path: str, epochs: dict[int, pathlib.Path]
) -> None:
    """Raises `UsageError` unless its networks fit the data and share their layers."""
    info = evaluate_data.check(config)
    layers: set[tuple[str, ...]] = set()
    for file in bar(list(epochs.values()), "checkpoints"):
        model = load_classifier(file, flag="checkpoints")
        model.check(info.image_shape, info.classes, config.dataset)
        layers.add(check_layers(config, model))
    if len(layers) > 1:
        told = " and ".join(", ".join(names) for names in sorted(layers))
        raise UsageError(
            f"--checkpoints={path} must hold networks of the same layers. "
            f"Received: {told}"
        )


def check_layers(config: EvaluateConfig, model: Loaded) -> tuple[str, ...]:
    """What the layers to look at are called; none of a SavedModel.

    Raises:
        UsageError: If a model does not have them.
    """
    if not _is_open(model):
        return ()
    shape = [size or 32 for size in model.input_shape]
    none = np.zeros((0, *shape), np.float32)
    try:
        found = analysis.local_response(model.call, none, none, config.layer_names)
    except ValueError as error:
        told = str(error).replace("`layers`", "--dissect_layers")
        raise UsageError(f"--{model.flag}={model.source}: {told}") from error
    return found.layers


def measures(one: Measured) -> dict[str, Estimate]:
    """What models are compared by, each a number that any of the papers cares about.

    NaN where it was not measured. Perturbations are those of the first attack that
    fooled the model.
    """
    summary = one.geometry.summary()
    statistics = one.main.statistics.means(one.main.found)
    return {
        "accuracy": one.accuracy(),
        "robust accuracy": one.main.accuracy(),
        "gradient norm": summary["gradient_norm"],
        "curvature": summary["curvature"],
        "high-frequency share": one.main.high_share(),
        "sign agreement": statistics.sign_agreement,
        "last difference": _last(one, "maximum"),
        "last relative difference": _last(one, "relative"),
        "kernel variation": one.kernel_variation(),
    }


def correlations(models: Iterable[Measured]) -> dict[str, dict[str, float]]:
    """Spearman's rank correlation of each two `measures` over models.

    NaN of fewer than three models, and of a measure that is the same for all.
    """
    columns: dict[str, list[float]] = {}
    for one in models:
        for name, estimate in measures(one).items():
            columns.setdefault(name, []).append(estimate.value)
    return {
        name: {
            other: analysis.rank_correlation(values, others)
            for other, others in columns.items()
        }
        for name, values in columns.items()
    }


def _last(one: Measured, statistic: str) -> Estimate:
    """Of the deepest layer looked at."""
    if one.main.response is None:
        return mean([])
    return getattr(one.main.response.means(one.main.found)[-1], statistic)


def _is_open(model: Loaded) -> bool:
    """Whether layers can be looked at."""
    return isinstance(model.call, keras.Model)
