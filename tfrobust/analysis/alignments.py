"""Whether the gradients of a classifier mean something to who looks at them.

Three questions of "Do Perceptually Aligned Gradients Imply Adversarial Robustness?"
(Ganz, Kawar and Elad 2023): do the class gradients point where representatives of the
classes are; what becomes of an image that follows them for long; and does somebody else
recognise in the result the class that it was led to?
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import any_number, in_batches, traced
from tfrobust.attacks import PGD
from tfrobust.core.classifier import as_classifier
from tfrobust.core.differentiable import layers_named
from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.examples import gather
from tfrobust.core.gradients import class_gradients, linearize
from tfrobust.core.images import check_batch, check_pixels
from tfrobust.core.precision import in_single_precision
from tfrobust.core.selection import selected
from tfrobust.core.vectors import cosine
from tfrobust.pag import Directions
from tfrobust.settings import require, require_steps


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """How the class gradients of N images lie to the directions of a provider.

    Attributes:
        cosines: float32 `[N,K]`, from -1 to 1; 0 where a gradient or a direction is 0.

    Raises:
        ValueError: If `cosines` is not of rank 2.

    Example:
        >>> result = Alignment(np.array([[0.5, 0.0], [0.25, 0.25]], np.float32))
        >>> result.means()["cosine"].value, [mean.value for mean in result.by_class()]
        (0.25, [0.375, 0.125])
    """

    cosines: np.ndarray

    def __post_init__(self) -> None:
        """Check the array and bring it to its dtype."""
        object.__setattr__(self, "cosines", np.asarray(self.cosines, np.float32))
        if self.cosines.ndim != 2:
            raise ValueError(
                "`cosines` must have shape [N, K]. "
                f"Received: shape={self.cosines.shape}"
            )

    def select(self, mask: Any) -> Alignment:
        """The same of some of the images.

        Args:
            mask: bool `[N]`. It may hold nowhere.

        Raises:
            ValueError: If it is no bool `[N]`.
        """
        return Alignment(*selected([self.cosines], mask))

    def means(self) -> dict[str, Estimate]:
        """The mean over images and classes, with its standard error over images.

        Returns:
            `cosine`.
        """
        return {"cosine": mean(np.mean(self.cosines, axis=1, dtype=np.float64))}

    def by_class(self) -> tuple[Estimate, ...]:
        """The mean over images of each class's cosine."""
        return tuple(mean(column) for column in self.cosines.T)


@dataclasses.dataclass(frozen=True, eq=False)
class Agreement:
    """What a judge took N images for, each of which was moved towards K classes.

    Attributes:
        predicted: Integers `[N,K]`, the judge's answer to image i moved to class t.
        counted: bool `[N,K]`, which of them count; all if left out.

    Raises:
        ValueError: If the arrays differ in shape or are not of rank 2.

    Example:
        >>> result = Agreement(np.array([[0, 1], [0, 0]]))
        >>> result.means()["reached"].value, [mean.value for mean in result.by_class()]
        (0.75, [1.0, 0.5])
    """

    predicted: np.ndarray
    counted: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check the arrays and bring them to their dtypes."""
        predicted, counted = np.asarray(self.predicted), self.counted
        counted = np.ones_like(predicted) if counted is None else np.asarray(counted)
        if predicted.ndim != 2 or counted.shape != predicted.shape:
            raise ValueError(
                "`predicted` and `counted` must have one shape [N, K]. "
                f"Received: shapes {predicted.shape} and {counted.shape}"
            )
        object.__setattr__(self, "predicted", predicted)
        object.__setattr__(self, "counted", counted.astype(bool))

    def reached(self) -> np.ndarray:
        """Whether the judge sees the class that an image was moved to, bool `[N,K]`."""
        return np.asarray(self.predicted == np.arange(self.predicted.shape[1]))

    def shares(self) -> np.ndarray:
        """Of each image the share of classes that was reached, float64 `[N]`.

        NaN where nothing counts.

        Example:
            >>> Agreement(np.array([[0, 1], [0, 0]])).shares().tolist()
            [1.0, 0.5]
        """
        counted = np.asarray(self.counted)
        counts = np.sum(counted, axis=1)
        hits = np.sum(self.reached() & counted, axis=1)
        return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)

    def select(self, mask: Any) -> Agreement:
        """The same of some of the images.

        Args:
            mask: bool `[N]`. It may hold nowhere.

        Raises:
            ValueError: If it is no bool `[N]`.
        """
        return Agreement(*selected([self.predicted, self.counted], mask))

    def means(self) -> dict[str, Estimate]:
        """The share that the judge sees in the class they were moved to.

        The mean over images of each image's share, and its standard error over images:
        what becomes of one image for one class and for another is not independent. An
        image of which nothing counts is left out.

        Returns:
            `reached`.
        """
        shares = self.shares()
        return {"reached": mean(shares[~np.isnan(shares)])}

    def by_class(self) -> tuple[Estimate, ...]:
        """The same share for each target class; NaN where nothing counts."""
        pairs = zip(self.reached().T, np.asarray(self.counted).T, strict=True)
        return tuple(mean(hit[counted]) for hit, counted in pairs)


def alignment(
    model: Any,
    images: Any,
    directions: Directions,
    batch_size: int = 50,
    extras: Mapping[str, Any] | None = None,
) -> Alignment:
    """Cosines between the class gradients and where they should point.

    `cos(grad_x f(x)_t, g(x, t))` for every class t, which is what
    `penalties.GradientAlignment` raises in training. It is measured against one
    provider's directions and says nothing of others': a network may have gradients that
    mean something and point elsewhere.

    Args:
        model: As for an attack's call: a Keras model, a loaded SavedModel, or any
            callable from images to logits `[B,K]`.
        images: Floating `[N,H,W,C]` in [0, 1] in any form, N at least 1.
        directions: Where g comes from, one of `tfrobust.pag`.
        batch_size: Images at a time. K passes back are one, of K times as many.
        extras: What the directions want to know of each image, `[N,...]` by name.

    Returns:
        The cosines, float32 `[N,K]`. Those of an image do not depend on the others.

    Raises:
        ValueError: If images or extras are of a wrong shape, type or range, there is no
            image, the directions do not fit the model, or the model has no gradient.

    Reference: Ganz et al. 2023 (PAG), equation 2.

    Example:
        >>> from tfrobust import pag
        >>> corners = np.eye(2, dtype=np.float32).reshape(2, 1, 2, 1)
        >>> directions = pag.OneImage(corners, [0, 1], classes=2)
        >>> def model(images):
        ...     return tf.reshape(images, [-1, 2])
        >>> result = alignment(model, np.zeros((1, 1, 2, 1), np.float32), directions)
        >>> result.cosines.tolist()
        [[1.0, 1.0]]
    """
    images = _checked(gather(images).images)
    require_steps("batch_size", batch_size)
    features = {name: tf.convert_to_tensor(v) for name, v in (extras or {}).items()}
    for name, values in features.items():
        if values.shape.rank == 0 or values.shape[0] != len(images):
            raise ValueError(
                f"`extras` must hold a row for each of the {len(images)} images. "
                f"Received: shape={values.shape} for {name!r}"
            )
    classifier = as_classifier(model)
    classes = _classes_of(classifier, images)
    directions.check(tuple(images.shape[1:]), classes)

    def compared(batch: tf.Tensor, extras: dict[str, tf.Tensor]) -> tf.Tensor:
        chosen = tf.broadcast_to(tf.range(classes), [tf.shape(batch)[0], classes])
        with layers_named(model):
            with in_single_precision(model):
                _, pull = linearize(classifier, batch)
            gradients = class_gradients(pull, chosen, classes)
        return cosine(gradients, directions(batch, chosen, extras))

    graph = traced(
        compared,
        any_number(images),
        {name: any_number(values) for name, values in features.items()},
    )

    def work(rows: slice) -> tf.Tensor:
        return graph(images[rows], {k: v[rows] for k, v in features.items()})

    return Alignment(in_batches(work, len(images), batch_size))


def towards_classes(
    model: Any,
    images: Any,
    *,
    eps: float,
    steps: int,
    classes: int,
    step_size: float | None = None,
    norm: float | str = 2,
    batch_size: int = 100,
) -> np.ndarray:
    """Every image moved far towards every class, by targeted `PGD`.

    From the image itself, no noise added, and on to the highest loss found rather than
    to the first success: what is to be seen is what the gradients paint. The radius is
    several times that of an attack meant to go unnoticed.

    Args:
        model: As for an attack's call.
        images: Floating `[N,H,W,C]` in [0, 1] in any form, N at least 1.
        eps: Radius of the ball, in the norm.
        steps: Gradient steps.
        classes: K, the model's.
        step_size: Length of a step; `2 * eps / steps` if `None`.
        norm: 1, 2, `"inf"` or `math.inf`.
        batch_size: Moved images at a time, of which each image has K.

    Returns:
        float32 `[N,K,H,W,C]` in [0, 1], each within the ball around its image; place t
        is the image moved towards class t, also where the model had it in t before.

    Raises:
        ValueError: If images are of a wrong shape, type or range, there is none, a
            setting is out of range, `classes` is not the model's number, or the model
            has no gradient.

    Reference: Ganz et al. 2023 (PAG), figures 1, 4 and 5.

    Example:
        >>> def model(images):
        ...     level = tf.reduce_mean(images, axis=[1, 2, 3])
        ...     return tf.stack([-level, level], axis=1)
        >>> gray = tf.fill([1, 1, 1, 1], 0.5)
        >>> moved = towards_classes(model, gray, eps=0.25, steps=2, classes=2)
        >>> moved.ravel().round(4).tolist()
        [0.25, 0.75]
    """
    images = _checked(gather(images).images)
    require_steps("batch_size", batch_size)
    attack = PGD(
        norm=norm, eps=eps, steps=steps, step_size=step_size, random_start=False
    )
    classifier = as_classifier(model)
    own = _classes_of(classifier, images)
    require(classes == own, "classes", classes, f"{own}, the model's number")

    def moved(batch: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        # Labels play no part where there are targets.
        return attack.perturb(classifier, batch, targets, targets)

    graph = traced(moved, any_number(images), tf.TensorSpec([None], tf.int32))

    def work(rows: slice) -> tf.Tensor:
        pairs = tf.range(rows.start, rows.stop)
        return graph(tf.gather(images, pairs // classes), pairs % classes)

    pairs = in_batches(work, len(images) * classes, batch_size)
    return pairs.reshape(len(images), classes, *images.shape[1:])


def agreement(
    judge: Any, modified: Any, batch_size: int = 100, clean: Any = None
) -> Agreement:
    """What an independent classifier sees in images that were moved towards classes.

    Stands in for a person who looks at them. That the model itself sees the class means
    little: any network is led anywhere by its own gradients. A judge trained apart, on
    the same data, may still share weaknesses with the model, and one that is robust
    itself shares fewer: a share is to be compared with that of another model under the
    same judge.

    Args:
        judge: As for an attack's call; none of the models looked at.
        modified: Floating `[N,K,H,W,C]` in [0, 1], from `towards_classes`.
        batch_size: Moved images at a time.
        clean: Floating `[N,H,W,C]` in [0, 1] in any form, the images as they were.
            Where given, a class that the judge sees in the clean image already does not
            count as one that it can be moved to.

    Returns:
        The judge's answers, and which of them count.

    Raises:
        ValueError: If images are of a wrong shape, type or range, there is none, or
            the judge does not tell K classes apart.

    Example:
        >>> def judge(images):
        ...     level = tf.reduce_mean(images, axis=[1, 2, 3])
        ...     return tf.stack([0.5 - level, level - 0.5], axis=1)
        >>> moved = np.reshape(np.float32([0.25, 0.75, 0.6, 0.9]), (2, 2, 1, 1, 1))
        >>> agreement(judge, moved).reached().tolist()
        [[True, True], [False, True]]
    """
    modified = np.asarray(modified)
    if modified.ndim != 5:
        raise ValueError(
            "`modified` must have shape [N, K, H, W, C]. "
            f"Received: shape={modified.shape}"
        )
    require_steps("batch_size", batch_size)
    count, classes = modified.shape[:2]
    pairs = _checked(modified.reshape(-1, *modified.shape[2:]), "modified")
    classifier = as_classifier(judge)
    own = _classes_of(classifier, pairs)
    if own != classes:
        raise ValueError(
            f"`judge` must tell the {classes} classes of `modified` apart. "
            f"Received: a judge of {own} classes"
        )
    predicted = _answers(classifier, pairs, batch_size).reshape(count, classes)
    if clean is None:
        return Agreement(predicted)
    clean = _checked(gather(clean, name="clean").images, "clean")
    if clean.shape != (count, *modified.shape[2:]):
        raise ValueError(
            f"`clean` must have shape {(count, *modified.shape[2:])}, as `modified` "
            f"says. Received: shape={tuple(clean.shape)}"
        )
    before = _answers(classifier, clean, batch_size)
    return Agreement(predicted, np.arange(classes) != before[:, None])


def _answers(classifier: Any, images: tf.Tensor, batch_size: int) -> np.ndarray:
    """The classes that images are taken for, int64 `[N]`; -1 for no answer."""

    def answer(batch: tf.Tensor) -> tf.Tensor:
        logits = classifier(batch)
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
        return tf.where(finite, tf.argmax(logits, axis=1), -1)

    graph = traced(answer, any_number(images))
    return in_batches(lambda rows: graph(images[rows]), len(images), batch_size)


def _checked(value: Any, name: str = "images") -> tf.Tensor:
    images = check_batch(name, value)
    if not len(images):
        raise ValueError(f"`{name}` must hold at least one image. Received: none")
    check_pixels(name, images)
    return images


def _classes_of(classifier: Any, images: tf.Tensor) -> int:
    return int(classifier(images[:1]).shape[1])
