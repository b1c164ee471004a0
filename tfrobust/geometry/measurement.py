"""Geometry of a model over a data set: values per example, means and their errors."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

import numpy as np
import tqdm

from tfrobust.core.estimates import Estimate, mean, means
from tfrobust.core.examples import Batches
from tfrobust.core.selection import selected
from tfrobust.core.terminal import columns
from tfrobust.geometry.curvatures import EPSILON, curvature

_NAMES = ("gradient_norm", "hessian_norm", "curvature")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Geometry at every example of a data set, in the order of the data.

    Attributes:
        gradient_norm: float32 `[N]`.
        hessian_norm: float32 `[N]`.
        curvature: float32 `[N]`. The mean of these ratios, which the paper reports, is
            not the ratio of the means.

    Example:
        >>> import numpy as np
        >>> ones = np.ones(4, np.float32)
        >>> Measurement(ones, ones, ones).means()["curvature"]
        Estimate(value=1.0, standard_error=0.0)
    """

    gradient_norm: np.ndarray
    hessian_norm: np.ndarray
    curvature: np.ndarray

    def select(self, mask: Any) -> Measurement:
        """The same of some of the images.

        Args:
            mask: bool `[N]`. It may hold nowhere.

        Raises:
            ValueError: If it is no bool `[N]`.
        """
        return Measurement(*selected(self._values().values(), mask))

    def means(self) -> dict[str, Estimate]:
        """Mean and standard error of each quantity, `{name: (mean, error)}`."""
        return means(self._values())

    def _values(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in _NAMES}


def measure(
    model: Any,
    batches: Any,
    power_iterations: int = 10,
    tolerance: float | None = None,
    seed: int = 0,
    epsilon: float = EPSILON,
    batch_size: int = 128,
    progress: bool = False,
    *,
    bounds: Any = None,
) -> Measurement:
    """Gradient norm, Hessian norm and curvature at every example of a data set.

    Nothing depends on how the examples are batched, up to float32 rounding.

    Args:
        model: As for `curvature`.
        batches: Any iterable of `(images, labels)` batches, such as a
            `tf.data.Dataset`; or one pair of arrays, `(images, labels)`, which is cut
            into batches. A third element, the weights of a padded pipeline, marks
            padding by 0, and such examples are left out.
        power_iterations: As `iterations` of `hessian_norm`.
        tolerance: As for `hessian_norm`.
        seed: As for `hessian_norm`.
        epsilon: As for `curvature`.
        batch_size: Of a pair of arrays, at least 1.
        progress: Whether to show a progress bar.
        bounds: The range of the pixels, as for an attack's call.

    Returns:
        A `Measurement` of N examples, in units of images in [0, 1].

    Raises:
        ValueError: As for `curvature`; also if there is no example, or a batch is not
            `(images, labels)`.

    Reference: Srinivas et al. 2022 (LCNN), section 5.1, Table 1.

    Example:
        >>> import numpy as np
        >>> import tensorflow as tf
        >>> from tfrobust import geometry
        >>> model = lambda x: tf.concat([x, -x], axis=-1)
        >>> data = (np.zeros((3, 1), np.float32), np.zeros(3, np.int32))
        >>> geometry.measure(model, data, batch_size=2).means()["hessian_norm"]
        Estimate(value=1.0, standard_error=0.0)
    """
    parts = []
    width = columns(sys.stderr)
    for images, labels in tqdm.tqdm(
        Batches(batches, batch_size),
        disable=not progress,
        desc="geometry",
        unit="batch",
        ncols=width,
    ):
        curvatures = curvature(
            model,
            images,
            labels,
            power_iterations,
            tolerance,
            seed,
            epsilon,
            bounds=bounds,
        )
        parts.append([np.asarray(values) for values in curvatures])
    if not parts:
        raise ValueError("`batches` must hold at least one example. Received: none")
    return Measurement(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def discrepancy(test_values: Any, train_values: Any) -> Estimate:
    """How far the mean on test data is from that on training data, relatively.

    `|(mean_test - mean_train) / mean_train|`, of gradient norms, Hessian norms or
    curvatures. A model whose geometry overfits is flat at the images that it was
    trained on only: test norms ten times the training ones give 9.

    The paper prints a division by the value on test data, with which a test value above
    the training value could not give more than 1. Its Table 3 has 10 to 22, and says
    that test norms are more than ten times the training ones: its numbers are relative
    to the training value (LCNN-X2), and so are these.

    Args:
        test_values: `[N]`, per-example values on test data.
        train_values: `[M]`, the same on training data, with a mean other than 0.

    Returns:
        The discrepancy and its standard error, to first order in the errors of the two
        means (delta method), which are taken for independent. Where the discrepancy is
        smaller than its error, it is biased upwards, as any absolute value is.

    Raises:
        ValueError: If a sample is empty or the mean on training data is 0.

    Reference: Srinivas et al. 2022 (LCNN), section 5.4, Table 3 (LCNN-E7).

    Example:
        >>> discrepancy([3.0, 3.0], [1.0, 1.0])
        Estimate(value=2.0, standard_error=0.0)
    """
    test, test_error = mean(_check_values("test_values", test_values))
    train, train_error = mean(_check_values("train_values", train_values))
    if train == 0:
        raise ValueError("`train_values` must have a mean other than 0. Received: 0")
    ratio = test / train
    error = math.hypot(test_error, ratio * train_error) / abs(train)
    return Estimate(abs(1.0 - ratio), error)


def _check_values(name: str, values: Any) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.size == 0:
        raise ValueError(f"`{name}` must hold at least one value. Received: none")
    return values
