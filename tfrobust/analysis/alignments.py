"""Whether the class gradients of a classifier point where classes are.

The first question of "Do Perceptually Aligned Gradients Imply Adversarial Robustness?"
(Ganz, Kawar and Elad 2023). For the others see `tfrobust.analysis.agreements`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import (
    any_number,
    at_least_one,
    classes_of,
    gathered,
    in_batches,
    traced,
)
from tfrobust.core.classifier import as_classifier
from tfrobust.core.differentiable import layers_named
from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.gradients import class_gradients, linearize
from tfrobust.core.precision import in_single_precision
from tfrobust.core.selection import selected
from tfrobust.core.vectors import cosine
from tfrobust.pag import Directions
from tfrobust.settings import require_steps


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


def alignment(
    model: Any,
    images: Any,
    directions: Directions,
    batch_size: int = 50,
    extras: Mapping[str, Any] | None = None,
    *,
    bounds: Any = None,
) -> Alignment:
    """Cosines between the class gradients and where they should point.

    `cos(grad_x f(x)_t, g(x, t))` for every class t, which is what
    `penalties.GradientAlignment` raises in training. It is measured against one
    provider's directions and says nothing of others': a network may have gradients that
    mean something and point elsewhere.

    Args:
        model: As for an attack's call: a Keras model, a loaded SavedModel, or any
            callable from images to logits `[B,K]`.
        images: `[N,H,W,C]` within the bounds in any form, N at least 1.
        directions: Where g comes from, one of `tfrobust.pag`. They are asked for images
            in [0, 1], whatever the bounds.
        batch_size: Images at a time. K passes back are one, of K times as many.
        extras: What the directions want to know of each image, `[N,...]` by name.
        bounds: The range of the pixels, as for an attack's call.

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
    pixels = at_least_one(gathered(images, model=model, bounds=bounds)[0])
    images = pixels.images
    require_steps("batch_size", batch_size)
    features = {name: tf.convert_to_tensor(v) for name, v in (extras or {}).items()}
    for name, values in features.items():
        if values.shape.rank == 0 or values.shape[0] != len(images):
            raise ValueError(
                f"`extras` must hold a row for each of the {len(images)} images. "
                f"Received: shape={values.shape} for {name!r}"
            )
    classifier, classes = (
        as_classifier(model, pixels.bounds),
        classes_of(model, pixels),
    )
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
