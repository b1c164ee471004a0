"""Images that follow a classifier's gradients for long, and what others see in them.

Two questions of "Do Perceptually Aligned Gradients Imply Adversarial Robustness?"
(Ganz, Kawar and Elad 2023): what becomes of an image that follows the class gradients
for long; and does somebody else recognise in the result the class that it was led to?
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import (
    any_number,
    at_least_one,
    classes_of,
    compiled,
    gathered,
    in_batches,
)
from tfrobust.attacks import PGD
from tfrobust.core.classifier import Classifier
from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.images import Pixels, pixels_in
from tfrobust.core.pixels import UNIT
from tfrobust.core.selection import selected
from tfrobust.settings import require, require_steps


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
    bounds: Any = None,
) -> np.ndarray:
    """Every image moved far towards every class, by targeted `PGD`.

    From the image itself, no noise added, and on to the highest loss found rather than
    to the first success: what is to be seen is what the gradients paint. The radius is
    several times that of an attack meant to go unnoticed.

    Args:
        model: As for an attack's call.
        images: `[N,H,W,C]` within the bounds in any form, N at least 1.
        eps: Radius of the ball, in the norm, in units of images in [0, 1].
        steps: Gradient steps.
        classes: K, the model's.
        step_size: Length of a step; `2 * eps / steps` if `None`.
        norm: 1, 2, `"inf"` or `math.inf`.
        batch_size: Moved images at a time, of which each image has K.
        bounds: The range of the pixels, as for an attack's call.

    Returns:
        float32 `[N,K,H,W,C]` within the bounds, each in the ball around its image;
        place t is the image moved towards class t, also where the model had it in t
        before.

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
    pixels = at_least_one(gathered(images, model=model, bounds=bounds)[0])
    images = pixels.images
    require_steps("batch_size", batch_size)
    attack = PGD(
        norm=norm, eps=eps, steps=steps, step_size=step_size, random_start=False
    )
    own = classes_of(model, pixels)
    require(classes == own, "classes", classes, f"{own}, the model's number")

    def moved(
        classifier: Classifier, batch: tf.Tensor, targets: tf.Tensor
    ) -> tf.Tensor:
        # Labels play no part where there are targets.
        return attack.perturb(classifier, batch, targets, targets, bounds=UNIT)

    graph = compiled(
        model,
        pixels.bounds,
        images,
        attack,
        moved,
        any_number(images),
        tf.TensorSpec([None], tf.int32),
    )

    def work(rows: slice) -> tf.Tensor:
        pairs = tf.range(rows.start, rows.stop)
        given, unit = (tf.gather(x, pairs // classes) for x in pixels[:2])
        chosen = Pixels(given, unit, pixels.bounds)
        return chosen.restored(graph(chosen.images, pairs % classes))

    pairs = in_batches(work, len(images) * classes, batch_size)
    return pairs.reshape(len(images), classes, *images.shape[1:])


def agreement(
    judge: Any,
    modified: Any,
    batch_size: int = 100,
    clean: Any = None,
    *,
    bounds: Any = None,
) -> Agreement:
    """What an independent classifier sees in images that were moved towards classes.

    Stands in for a person who looks at them. That the model itself sees the class means
    little: any network is led anywhere by its own gradients. A judge trained apart, on
    the same data, may still share weaknesses with the model, and one that is robust
    itself shares fewer: a share is to be compared with that of another model under the
    same judge.

    Args:
        judge: As for an attack's call; none of the models looked at.
        modified: `[N,K,H,W,C]` within the judge's bounds, from `towards_classes`.
        batch_size: Moved images at a time.
        clean: `[N,H,W,C]` within the bounds in any form, the images as they were.
            Where given, a class that the judge sees in the clean image already does not
            count as one that it can be moved to.
        bounds: The range of the judge's pixels, as for an attack's call.

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
    flat = modified.reshape(-1, *modified.shape[2:])
    pairs = at_least_one(pixels_in(flat, judge, bounds, name="modified"), "modified")
    own = classes_of(judge, pairs)
    if own != classes:
        raise ValueError(
            f"`judge` must tell the {classes} classes of `modified` apart. "
            f"Received: a judge of {own} classes"
        )
    predicted = _answers(judge, pairs, batch_size).reshape(count, classes)
    if clean is None:
        return Agreement(predicted)
    before = at_least_one(
        gathered(clean, None, judge, bounds, name="clean")[0], "clean"
    )
    if before.images.shape != (count, *modified.shape[2:]):
        raise ValueError(
            f"`clean` must have shape {(count, *modified.shape[2:])}, as `modified` "
            f"says. Received: shape={tuple(before.images.shape)}"
        )
    answers = _answers(judge, before, batch_size)
    return Agreement(predicted, np.arange(classes) != answers[:, None])


def _answers(model: Any, pixels: Pixels, batch_size: int) -> np.ndarray:
    """The classes that images are taken for, int64 `[N]`; -1 for no answer."""
    images = pixels.images

    def answer(classifier: Classifier, batch: tf.Tensor) -> tf.Tensor:
        logits = classifier(batch)
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
        return tf.where(finite, tf.argmax(logits, axis=1), -1)

    specs = (any_number(images),)
    graph = compiled(model, pixels.bounds, images, "answers", answer, *specs)
    return in_batches(lambda rows: graph(images[rows]), len(images), batch_size)
