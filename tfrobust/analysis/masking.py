"""Whether a model withstands attacks, or only hides its gradients from them.

The checks of Athalye, Carlini and Wagner 2018 (https://arxiv.org/abs/1802.00420,
section 3.1) and Carlini et al. 2019 (https://arxiv.org/abs/1902.06705, section 4),
run on one set of images.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from tfrobust.analysis.batching import gathered
from tfrobust.analysis.masking_attacks import (
    gradient_attacks,
    growing_radii,
    growth_name,
    search_attacks,
)
from tfrobust.analysis.masking_report import MaskingReport, report_of
from tfrobust.attacks import PGD, Attack, Evaluation, Goal, evaluate
from tfrobust.core.classifier import as_classifier
from tfrobust.core.gradients import has_gradient, values_and_gradient
from tfrobust.core.images import Pixels, check_classes
from tfrobust.core.pixels import UNIT, Bounds
from tfrobust.core.terminal import columns
from tfrobust.settings import require, require_positive, require_steps

# The norm of gradients that belongs to a norm of images.
_DUAL = {1: np.inf, 2: 2}


def masking_check(
    model: Any,
    images: Any,
    labels: Any = None,
    *,
    norm: float | str,
    eps: float,
    restarts: int = 10,
    steps: int = 20,
    queries: int = 1000,
    seed: int = 0,
    batch_size: int = 128,
    bounds: Any = None,
    progress: bool = False,
) -> MaskingReport:
    """Attacks a model in ways that agree on an honest one, and says where they differ.

    With a radius of `eps`: PGD on the cross-entropy from a random start, in steps of
    `2 * eps / steps`; the same from the image itself (BIM), as a single step starts
    (FGSM); PGD from many starts on the margin and, from 3 classes on, on the difference
    of logits ratio; `attacks.Square`, which asks for no gradient. Then the first at 2,
    4, 8 and 16 times the radius and at the size of the box. Signs of masking are:

    - The single step breaks more than PGD and BIM together. PGD alone is no measure: in
      L2 a seventh of its random start is still there after 20 steps.
    - The random search breaks images that no gradient attack does.
    - Images withstand PGD where any image may be shown.
    - Gradients are 0, or nearly so.

    Each counts where its share of the images is above one in a hundred, and above two
    standard errors: of 100 images it takes 4, and a single image says nothing. A model
    without any gradient, such as one that rounds its input, is given one of 0.

    PGD climbs log-odds (see `attacks.PGD`), which do not saturate: a model that is just
    very confident hides its gradients from a cross-entropy in float32, not from this.

    Args:
        model: As for an attack's call.
        images: `[N,H,W,C]` within the bounds in any form; see `tfrobust.analysis`.
        labels: As for an attack's call, unless `images` brings them.
        norm: 1, 2, `"inf"` or `math.inf`.
        eps: Radius in units of images in [0, 1], above 0.
        restarts: Of PGD on the margin and on the difference of logits ratio.
        steps: Of every PGD.
        queries: Of the random search.
        seed: Of all draws, in [0, 2**31).
        batch_size: How many images are attacked at once.
        bounds: The range of the pixels, as for an attack's call.
        progress: Whether to show a progress bar with the time left on standard error.

    Returns:
        A `MaskingReport`.

    Raises:
        ValueError: If a setting, shape or dtype is wrong, or the model gets every image
            wrong.

    Example:
        >>> from tfrobust.analysis import masking_check
        >>> def model(x):  # the mean pixel against 1/2
        ...     lead = tf.reduce_mean(x, axis=[1, 2, 3]) - 0.5
        ...     return tf.stack([lead, -lead], axis=-1)
        >>> images = tf.fill([3, 4, 4, 1], 0.625)
        >>> report = masking_check(
        ...     model, images, [0, 0, 0], norm="inf", eps=0.1, queries=50)
        >>> report.masked, report.robust_accuracy["union"].value
        (False, 1.0)
    """
    require(norm in (1, 2, "inf", math.inf), "norm", norm, '1, 2 or "inf"')
    require_positive("eps", eps)
    counts = {"steps": steps, "restarts": restarts, "queries": queries}
    for name, value in {**counts, "batch_size": batch_size}.items():
        require_steps(name, value)
    pixels, labels = gathered(images, labels, model, bounds, labeled=True)
    labels = check_classes("labels", labels, pixels.images)
    if not len(labels):
        raise ValueError("`images` must hold at least one image. Received: none")
    classes = int(as_classifier(model, pixels.bounds)(pixels.images[:1]).shape[-1])
    plain = PGD(norm=norm, eps=eps, steps=steps, seed=seed)
    tried = {
        **gradient_attacks(plain, classes, restarts),
        **search_attacks(norm, eps, queries, seed),
    }
    total = len(tried) + len(growing_radii(norm, eps, pixels.images))
    with tqdm.tqdm(
        desc="masking",
        unit="attack",
        total=total,
        ncols=columns(sys.stderr),
        disable=not progress,
    ) as shown:
        report = measure(
            model,
            pixels,
            labels,
            plain,
            tried,
            batch_size=batch_size,
            step=_step(shown),
        )
        shown.update(1)
    return report


def measure(
    model: Any,
    pixels: Pixels,
    labels: tf.Tensor,
    plain: PGD,
    tried: Mapping[str, Attack],
    *,
    known: Mapping[str, np.ndarray] | None = None,
    searched: np.ndarray | None = None,
    batch_size: int = 128,
    keep_images: bool = False,
    step: Callable[[str], Any] = str,
) -> MaskingReport:
    """The report of `masking_check`, of attacks that one chooses.

    Args:
        model: As for an attack's call.
        pixels: The images.
        labels: int32 `[N]`.
        plain: What grows: its radius is that of the report.
        tried: The attacks to run, by name, of the radius of `plain`. `"pgd"`, `"bim"`
            and `"fgsm"` are among them; all but `"square"` climb gradients.
        known: By name, which images other gradient attacks break, bool `[N]`.
        searched: Which images other random searches break, bool `[N]`.
        batch_size: How many images are attacked at once.
        keep_images: Whether the evaluation keeps what the attacks find.
        step: Called with the name of each attack before it runs.

    Raises:
        ValueError: If the model gets every image wrong.
    """
    model, pixels = with_gradient(model, pixels)
    batches = [
        (slice(first, first + batch_size))
        for first in range(0, len(labels), batch_size)
    ]
    radii = growing_radii(plain.norm, plain.eps, pixels.images)
    grown = {
        growth_name(radius): dataclasses.replace(plain, eps=radius) for radius in radii
    }
    evaluation: Evaluation | None = None
    for name, attack in {**tried, **grown}.items():
        step(name)
        given = [(pixels.given[rows], labels[rows]) for rows in batches]
        one = evaluate(
            model, given, {name: attack}, bounds=pixels.bounds, keep_images=keep_images
        )
        if not one.clean_correct.any():
            raise ValueError(
                "`images` must include some that `model` classifies correctly. "
                "Received: none"
            )
        results = {} if evaluation is None else evaluation.results
        evaluation = dataclasses.replace(one, results={**results, **one.results})
    assert evaluation is not None  # noqa: S101 - `tried` holds at least `pgd`
    vanishing = np.concatenate(
        [
            _vanishing(
                model,
                pixels.bounds,
                pixels.images[rows],
                labels[rows],
                plain,
                radii[-1],
            )
            for rows in batches
        ]
    )
    return report_of(plain.threat, evaluation, known or {}, searched, radii, vanishing)


def _step(shown: tqdm.tqdm) -> Callable[[str], None]:
    """Shows which attack runs; the bar moves on as one is over."""
    started: list[str] = []

    def step(name: str) -> None:
        shown.update(1 if started else 0)
        started.append(name)
        shown.set_postfix_str(name)

    return step


def with_gradient(model: Any, pixels: Pixels) -> tuple[Any, Pixels]:
    """The model and its images, or the same with a gradient of 0 if it has none.

    Example:
        >>> images = tf.zeros([1, 2, 1, 1])
        >>> model, _ = with_gradient(
        ...     lambda x: tf.round(x[:, :, 0, 0]), Pixels(images, images, UNIT))
        >>> has_gradient(model, images)
        True
    """
    classifier = as_classifier(model, pixels.bounds)
    if has_gradient(classifier, pixels.images[:1]):
        return model, pixels

    def flat(points: tf.Tensor) -> tf.Tensor:
        total = tf.reduce_sum(points, axis=[1, 2, 3], keepdims=True)
        # No gradient is asked of what may be no operation of TensorFlow.
        return classifier(tf.stop_gradient(points)) + 0.0 * total[:, :, 0, 0]

    return flat, Pixels(pixels.images, pixels.images, UNIT)


def _vanishing(
    model: Any,
    bounds: Bounds,
    images: tf.Tensor,
    labels: tf.Tensor,
    plain: PGD,
    box: float,
) -> np.ndarray:
    """Where the margin's gradient leads nowhere within the box, bool `[B]`.

    From x the margin -m of a linear model reaches 0 at a distance of m over the
    gradient's norm, that of the dual space. If that is beyond the box the model answers
    alike for every image, or it is not as linear as its gradient says.
    """
    goal = Goal(labels, targeted=False)
    classifier = as_classifier(model, bounds)
    margin, gradient = values_and_gradient(lambda x: goal.margin(classifier(x)), images)
    rows = np.asarray(gradient, np.float64)
    rows = rows.reshape(len(rows), -1)
    dual = _DUAL.get(plain.norm, 1)  # type: ignore[call-overload]
    sizes = np.linalg.norm(rows, ord=dual, axis=1)
    # Written so that NaN vanishes too.
    return ~(np.isfinite(sizes) & (sizes * box > -margin.numpy()))
