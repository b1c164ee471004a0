"""What is judged: a model, images and a ball, as every check asks of them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import traced
from tfrobust.analysis.judging.assault import Assault
from tfrobust.analysis.judging.claims import Claims
from tfrobust.analysis.masking import with_gradient
from tfrobust.attacks import Attack, AttackOutcome, Evaluation, ThreatModel, evaluate
from tfrobust.core.answers import are_probabilities
from tfrobust.core.classifier import AskedClassifier, as_classifier
from tfrobust.core.images import Pixels, check_classes, check_range
from tfrobust.core.pixels import UNIT, bounds_of
from tfrobust.layers import network_of


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A model, N images of it and a ball around each.

    Attributes:
        given: The model as the caller gave it.
        model: The same as attacks may have it: one without a gradient has one of 0.
        own: The images for the model as given.
        pixels: The images for `model`.
        labels: int32 `[N]`.
        assault: The attacks.
        batch_size: Images at a time.
        probabilities: Whether the model answers with probabilities, whose logits cannot
            be had.
        differentiable: Whether there is any gradient.
        classes: K.
        correct: bool `[N]`, which images the model has right.
        evaluation: What is judged of these images, if anything was given.
    """

    given: Any
    model: Any
    own: Pixels
    pixels: Pixels
    labels: np.ndarray
    assault: Assault
    batch_size: int
    probabilities: bool
    differentiable: bool
    classes: int
    correct: np.ndarray
    evaluation: Evaluation | None

    @property
    def threat(self) -> ThreatModel:
        """The ball."""
        return ThreatModel(self.assault.norm, self.assault.eps)

    @property
    def images(self) -> tf.Tensor:
        """float32 `[N,H,W,C]` in [0, 1]."""
        return self.pixels.images

    @property
    def network(self) -> Any:
        """The network in the model as given, where it is Keras's; else that itself."""
        return network_of(self.given)

    @functools.cached_property
    def classifier(self) -> AskedClassifier:
        """The model as a function of images in [0, 1], compiled."""
        return as_classifier(self.model, self.pixels.bounds)

    @functools.cached_property
    def graph(self) -> Any:
        """One graph of the model as given, from images in [0, 1] to logits."""
        asked = as_classifier(self.given, self.own.bounds)
        spec = tf.TensorSpec([None, *self.images.shape[1:]], tf.float32)
        return traced(lambda images: asked(images), spec)

    def logits(self, images: tf.Tensor) -> np.ndarray:
        """Logits float32 `[M,K]` of images in [0, 1], a batch at a time."""
        starts = range(0, len(images), self.batch_size)
        parts = [self.classifier(images[i : i + self.batch_size]) for i in starts]
        return np.concatenate([part.numpy() for part in parts])

    def fooled(self, images: tf.Tensor, labels: np.ndarray) -> np.ndarray:
        """Where the model answers with another class than the label, bool `[M]`.

        As for attacks, an answer that is no finite number is no prediction.
        """
        logits = self.logits(images)
        finite = np.isfinite(logits).all(axis=-1)
        missed: np.ndarray = finite & (np.argmax(logits, axis=-1) != labels)
        return missed

    def attacked(self, attack: Attack, rows: np.ndarray, model: Any = None) -> Any:
        """What an attack does to some of the images, with the images that it finds.

        Args:
            attack: Any.
            rows: Indices of the images, at least one.
            model: What is attacked; the model that is judged if `None`. It takes the
                pixels of that.

        Returns:
            An `AttackOutcome`.
        """
        chosen = (tf.gather(self.pixels.given, rows), self.labels[rows])
        result = evaluate(
            self.model if model is None else model,
            chosen,
            {"attack": attack},
            batch_size=self.batch_size,
            keep_images=True,
            bounds=self.pixels.bounds,
        )
        outcome: AttackOutcome = result.results["attack"]
        return outcome

    def standing(self, claims: Claims) -> np.ndarray:
        """Indices of the images that are right and that no attack breaks."""
        return np.flatnonzero(self.correct & ~claims.union())


def case_of(
    model: Any,
    own: Pixels,
    labels: Any,
    assault: Assault,
    evaluation: Evaluation | None,
    examples: int,
    batch_size: int,
) -> Case:
    """The case of some images, of which so many are drawn.

    Args:
        model: As for an attack's call.
        own: The images for it.
        labels: Of them.
        assault: The attacks.
        evaluation: Of the images, if there is one.
        examples: How many are drawn at most.
        batch_size: Images at a time.

    Raises:
        ValueError: If images, labels or the evaluation do not go together.
    """
    labels = check_classes("labels", labels, own.images).numpy()
    if not len(labels):
        raise ValueError("`images` must hold at least one image. Received: none")
    _check_evaluation(evaluation, labels)
    if len(labels) > examples:
        draw = np.random.default_rng(assault.seed)
        rows = np.sort(draw.choice(len(labels), examples, replace=False))
        own = Pixels(
            tf.gather(own.given, rows), tf.gather(own.images, rows), own.bounds
        )
        labels = labels[rows]
        evaluation = None if evaluation is None else evaluation.select(rows)
    asked, pixels, probabilities = _askable(model, own)
    found = asked
    asked, pixels = with_gradient(found, pixels)
    case = Case(
        given=model,
        model=asked,
        own=own,
        pixels=pixels,
        labels=labels,
        assault=assault,
        batch_size=batch_size,
        probabilities=probabilities,
        differentiable=asked is found,
        classes=0,
        correct=labels == labels,
        evaluation=evaluation,
    )
    logits = case.logits(case.images)
    check_range("labels", tf.constant(labels), logits.shape[1])
    correct = np.argmax(logits, axis=-1) == labels
    return dataclasses.replace(case, classes=logits.shape[1], correct=correct)


def _check_evaluation(evaluation: Evaluation | None, labels: np.ndarray) -> None:
    if evaluation is None:
        return
    if len(evaluation.labels) != len(labels):
        raise ValueError(
            f"`evaluation` must be of the same {len(labels)} images. "
            f"Received: one of {len(evaluation.labels)}"
        )
    other = int(np.sum(evaluation.labels != labels))
    if other:
        raise ValueError(
            "`evaluation` must be of the same labels. "
            f"Received: other labels for {other} of {len(labels)} images"
        )


def _askable(model: Any, pixels: Pixels) -> tuple[Any, Pixels, bool]:
    """The model and images, and whether it answers with probabilities.

    A network that does is refused elsewhere; here it is to be judged.
    """
    looked = pixels.images[:8]
    unit = Pixels(pixels.images, pixels.images, UNIT)
    bounds = bounds_of(model, pixels.bounds)

    def plain(images: tf.Tensor) -> tf.Tensor:
        return as_classifier(model, bounds)(images)

    try:
        as_classifier(model, bounds)(looked)
    except ValueError as error:
        if "probabilities" not in str(error) or "`model` must answer" not in str(error):
            raise
        return plain, unit, True
    return model, pixels, _are_hidden(as_classifier(model, bounds), looked)


def _are_hidden(classifier: AskedClassifier, images: tf.Tensor) -> bool:
    """Whether a function that warns of probabilities answers with some."""
    logits = classifier(images)
    return classifier.is_doubtful and bool(are_probabilities(logits))
