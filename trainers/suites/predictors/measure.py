"""Measures distances to adversarial examples and what might predict them.

The quantities are those of the four papers: curvature (LCNN-E3), alignment of a class
gradient with the direction to the mean of the class (PAG-E1), high frequencies
(Dissect) and roughness under the graph Laplacian (SMO-E14) of the loss's gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust import analysis, attacks, data, geometry, pag, smoothing
from tfrobust.analysis.batching import any_number, compiled, in_batches
from tfrobust.cli.loading import Loaded
from tfrobust.cli.program import UsageError, is_watched
from tfrobust.cli.records import Record, measured
from tfrobust.core.images import pixels_in
from tfrobust.core.vectors import by_largest_entry
from trainers.suites import attacks as suite_attacks
from trainers.suites import parts, samples
from trainers.suites.options import EvaluateConfig
from trainers.suites.predictors.suite import PredictorSettings

DEFAULT_ATTACKS = ("ddn:steps=200", "deepfool")
"""The distance of an image is the smaller of what the two find."""

PREDICTORS = (
    "linear_distance",
    "gradient_norm",
    "curvature",
    "alignment",
    "high_frequencies",
    "roughness",
)
"""What might predict it, by the quantity of its record."""

QUANTILES = (0.25, 0.5, 0.75)
"""Of the distance over the linear one."""

# Frequencies are high above half of the largest that a row of pixels has.
_SCALE = 0.5


def make_attacks(run: EvaluateConfig) -> dict[str, attacks.Attack]:
    """The attacks by title; `UsageError` if one does not look for a distance."""
    made = suite_attacks.make(run, DEFAULT_ATTACKS)
    for title, attack in made.items():
        if attack.threat.norm != 2 or attack.threat.eps is not None:
            raise UsageError(
                "--attack of the suite predictors must look for the smallest L2 "
                f"perturbation, as ddn or deepfool do. Received: {title}"
            )
    return made


class Measurer:
    """Measures models one by one, on images that it draws once.

    Args:
        run: The settings of the evaluation.
        own: Those of the suite.
        made: The attacks, from `make_attacks`.
        train: All training images.
        test: All test images.
    """

    def __init__(
        self,
        run: EvaluateConfig,
        own: PredictorSettings,
        made: dict[str, attacks.Attack],
        train: data.Dataset,
        test: data.Dataset,
    ) -> None:
        self.run, self.own, self.attacks, self._test = run, own, made, test
        self._means = pag.ClassMean(train.images, train.labels, train.classes)
        self.attacked = samples.draw(test, run.examples, run.seed)

    def facts(self) -> dict[str, str]:
        """The settings, in words."""
        return {
            "data": f"{self.run.dataset}, {len(self._test)} test images",
            "distance": "L2, the smaller of what these find: "
            + ", ".join(suite_attacks.words(self.attacks)),
        }

    def measure(self, model: Loaded) -> list[Record]:
        """Everything on one model."""
        values = self._values(model)
        return [
            parts.accuracy(self.run, model, self._test),
            *self._each(model, values),
            *_together(model.name, values),
        ]

    def _values(self, model: Loaded) -> dict[str, np.ndarray]:
        """The distance and every predictor, NaN where the model is wrong, `[N]`."""
        sample, size = self.attacked, self.run.batch_size
        evaluation = attacks.evaluate(
            model.call, sample.batches(size), self.attacks, progress=is_watched()
        )
        bent = geometry.measure(model.call, sample.batches(size), progress=is_watched())
        steps = max(1, size // model.classes)
        cosines = analysis.alignment(
            model.call, sample.pixels, self._means, steps
        ).cosines
        slopes = loss_gradients(model.call, sample.pixels, sample.labels, size)
        values = {
            "distance": smallest(evaluation),
            "linear_distance": analysis.linear_distance(
                model.call, sample.pixels, sample.labels, batch_size=steps
            ),
            "gradient_norm": bent.gradient_norm,
            "curvature": bent.curvature,
            "alignment": cosines[np.arange(len(cosines)), sample.labels],
            "high_frequencies": high_frequencies(slopes),
            "roughness": roughness(sample.pixels, slopes, size),
        }
        right = evaluation.clean_correct
        return {name: np.where(right, each, np.nan) for name, each in values.items()}

    def _each(
        self, model: Loaded, values: Mapping[str, np.ndarray]
    ) -> Iterator[Record]:
        of, name = self.attacked.first(), model.name
        for quantity, each in values.items():
            yield measured(name, quantity, each, of)
        # Wrong images are lost already: no comparison with NaN holds.
        radius = self.own.predictors_radius
        withstood = np.nan_to_num(values["distance"], nan=0.0) > radius
        yield measured(name, "withstood", withstood, of, eps=radius)


def _together(model: str, values: Mapping[str, np.ndarray]) -> Iterator[Record]:
    """What needs the values of all images of a model."""
    distance, linear = values["distance"], values["linear_distance"]
    count = int(np.sum(~np.isnan(distance)))
    ratio = distance / np.where(linear > 0.0, linear, np.nan)
    for quantile in QUANTILES if count else ():
        value = np.nanquantile(ratio, quantile)
        at = {"quantile": quantile}
        yield parts.exactly(model, "distance_over_linear", value, count, at)
    for name in PREDICTORS:
        others = [None] if name == "linear_distance" else [None, linear]
        for given in others:
            estimate = analysis.partial_rank_correlation(distance, values[name], given)
            known = None if given is None else "linear_distance"
            setting: dict[str, str | None] = {"predictor": name, "given": known}
            yield Record(model, "rank_correlation", setting, count, estimate)


def smallest(evaluation: attacks.Evaluation) -> np.ndarray:
    """The distance of the nearest image that an attack found; NaN if none did, `[N]`.

    Args:
        evaluation: Of attacks without a radius.
    """
    found = [
        np.where(outcome.success, outcome.distortion, np.inf)
        for outcome in evaluation.results.values()
    ]
    nearest = np.min(found, axis=0).astype(np.float64)
    return np.where(np.isfinite(nearest), nearest, np.nan)


def loss_gradients(
    model: Any, images: np.ndarray, labels: np.ndarray, batch_size: int
) -> np.ndarray:
    """Gradient of each image's cross-entropy, over its largest entry, `[N,H,W,C]`."""
    pixels = pixels_in(images, model)
    answers = tf.constant(labels, tf.int32)

    def gradient(classifier: Any, shown: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(shown)
            logits = tf.cast(classifier(shown), tf.float32)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return by_largest_entry(tape.gradient(loss, shown))

    graph = compiled(
        model,
        pixels.bounds,
        pixels.images,
        "predictors.loss_gradients",
        gradient,
        any_number(pixels.images),
        any_number(answers),
    )
    return in_batches(
        lambda rows: graph(pixels.images[rows], answers[rows]), len(images), batch_size
    )


def high_frequencies(gradients: np.ndarray) -> np.ndarray:
    """Share of each gradient's energy above half of the largest frequency of a row."""
    low = np.asarray(analysis.low_pass(gradients, _SCALE), np.float64)
    axes = (1, 2, 3)
    whole = np.sum(np.square(gradients, dtype=np.float64), axis=axes)
    share = 1.0 - np.sum(np.square(low), axis=axes) / np.where(whole > 0, whole, np.nan)
    return np.clip(share, 0.0, 1.0)


def roughness(images: np.ndarray, gradients: np.ndarray, batch_size: int) -> np.ndarray:
    """Of each gradient under its own image's graph, as `smoothing` has it, `[N]`."""

    def of(rows: slice) -> tf.Tensor:
        return smoothing.grid_graph(images[rows]).roughness(gradients[rows])

    return in_batches(of, len(images), batch_size)
