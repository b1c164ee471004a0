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
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tqdm

from tfrobust.analysis.batching import gathered
from tfrobust.attacks import (
    BIM,
    FGSM,
    PGD,
    Attack,
    Evaluation,
    Goal,
    Square,
    ThreatModel,
    evaluate,
)
from tfrobust.core.classifier import as_classifier
from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.gradients import has_gradient, values_and_gradient
from tfrobust.core.images import Pixels, check_classes
from tfrobust.core.pixels import UNIT, Bounds
from tfrobust.core.terminal import columns
from tfrobust.settings import require, require_positive, require_steps

# The share of images that may speak for masking without there being any: a gradient
# attack on an honest model now and then heads for the wrong class.
_BY_CHANCE = 0.01
_GROWTH = (2, 4, 8, 16)
_SEARCH = "square"
# The norm of gradients that belongs to a norm of images.
_DUAL = {1: np.inf, 2: 2}


class Sign(NamedTuple):
    """One sign of masked gradients.

    Attributes:
        present: Whether it was seen.
        reason: The numbers behind it, in one line.
    """

    present: bool
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskingReport:
    """What several attacks leave of a model, and which signs of masking there are.

    Attributes:
        threat: Norm and radius of all attacks but those of `growth`.
        robust_accuracy: Share of all images that are classified correctly and withstand
            an attack: `"clean"` for none, `"pgd"`, `"bim"`, `"fgsm"`, `"pgd_margin"`,
            `"pgd_dlr"` (from 3 classes on), `"square"` (not in L1), and `"union"` for
            those that withstand each of them.
        growth: The same for `"pgd"` at larger radii, by radius in rising order. The
            last is the size of the box [0, 1], within which any image may be shown.
        vanishing: Share of the correctly classified images with a vanishing gradient of
            the margin: 0, not finite, or so small that along it not even the size of
            the box would change the class.
        only_search: How many images the random search breaks and no gradient attack.
        signs: By name, whether each sign of masking was seen and why:
            `"single_step_beats_iterative"`, `"search_beats_gradients"`,
            `"unbounded_attack_fails"` and `"gradients_vanish"`.
        evaluation: What each attack did to each image, those of `growth` by
            `growth_name` of their radius; left out of comparisons.

    Reference: Athalye et al. 2018, section 3.1; Carlini et al. 2019, section 4.
    """

    threat: ThreatModel
    robust_accuracy: dict[str, Estimate]
    growth: dict[float, Estimate]
    vanishing: Estimate
    only_search: int
    signs: dict[str, Sign]
    evaluation: Evaluation | None = dataclasses.field(
        default=None, compare=False, repr=False
    )

    @property
    def masked(self) -> bool:
        """Whether any sign was seen. None is no proof of robustness."""
        return any(sign.present for sign in self.signs.values())

    def table(self) -> list[tuple[str, Estimate]]:
        """Rows of a name and a robust accuracy, larger radii last."""
        grown = [(f"pgd at eps {eps:.4g}", left) for eps, left in self.growth.items()]
        return [*self.robust_accuracy.items(), *grown]


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
        norm: 1, 2, `"inf"` or `math.inf`. In L1 there is no random search, and so no
            sign of it.
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
        return measure(
            model,
            pixels,
            labels,
            plain,
            tried,
            batch_size=batch_size,
            step=_step(shown),
        )


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
    return _report(plain.threat, evaluation, known or {}, searched, radii, vanishing)


def gradient_attacks(plain: PGD, classes: int, restarts: int) -> dict[str, Attack]:
    """The gradient attacks of `masking_check` by name.

    Example:
        >>> sorted(gradient_attacks(PGD(norm=2, eps=0.5), 2, 1))
        ['bim', 'fgsm', 'pgd', 'pgd_margin']
    """
    often = dataclasses.replace(plain, loss="margin", restarts=restarts)
    attacks: dict[str, Attack] = {
        "pgd": plain,
        "bim": BIM(norm=plain.norm, eps=plain.eps, steps=plain.steps),
        "fgsm": FGSM(norm=plain.norm, eps=plain.eps),
        "pgd_margin": often,
    }
    if classes >= 3:
        attacks["pgd_dlr"] = dataclasses.replace(often, loss="dlr")
    return attacks


def search_attacks(
    norm: float | str, eps: float, queries: int, seed: int
) -> dict[str, Attack]:
    """The random search of `masking_check` by name; none in L1.

    Example:
        >>> list(search_attacks(2, 0.5, 10, 0)), search_attacks(1, 0.5, 10, 0)
        (['square'], {})
    """
    if norm == 1:
        return {}
    return {_SEARCH: Square(norm=norm, eps=eps, queries=queries, seed=seed)}


def growth_name(radius: float) -> str:
    """What the attack of a larger radius is called in `MaskingReport.evaluation`.

    Example:
        >>> growth_name(0.25)
        'pgd at eps 0.25'
    """
    return f"pgd at eps {radius:.4g}"


def _step(shown: tqdm.tqdm) -> Callable[[str], None]:
    """Shows which attack runs; the bar moves on as one is over."""
    started: list[str] = []

    def step(name: str) -> None:
        shown.update(1 if started else 0)
        started.append(name)
        shown.set_postfix_str(name)

    return step


def growing_radii(norm: float | str, eps: float, images: tf.Tensor) -> list[float]:
    """Growing radii, the last that of the box [0, 1].

    Example:
        >>> growing_radii(2, 0.5, tf.zeros([1, 2, 2, 1]))
        [1.0, 2.0]
    """
    size = math.prod(images.shape[1:])
    box = {1: float(size), 2: math.sqrt(size)}.get(norm, 1.0)  # type: ignore[call-overload]
    return [*(times * eps for times in _GROWTH if times * eps < box), box]


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
        return classifier(points) + 0.0 * total[:, :, 0, 0]

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


def _report(
    threat: ThreatModel,
    evaluation: Evaluation,
    known: Mapping[str, np.ndarray],
    searched: np.ndarray | None,
    radii: list[float],
    vanishing: np.ndarray,
) -> MaskingReport:
    grown = {radius: growth_name(radius) for radius in radii}
    names = [name for name in evaluation.results if name not in grown.values()]
    correct = evaluation.clean_correct
    broken = {name: evaluation.results[name].success for name in names} | dict(known)
    remaining = {"clean": evaluation.accuracy()}
    remaining.update({name: mean(correct & ~lost) for name, lost in broken.items()})
    by_gradient = np.any([broken[name] for name in broken if name != _SEARCH], axis=0)
    by_search = broken.get(_SEARCH, np.zeros_like(correct))
    if searched is not None:
        by_search = by_search | searched
    remaining["union"] = mean(correct & ~by_gradient & ~by_search)
    growth = {
        radius: evaluation.robust_accuracy([name]) for radius, name in grown.items()
    }
    alone = by_search & ~by_gradient
    # What is wrong from the start counts as broken by both, and so for neither.
    iterated = broken["pgd"] | broken["bim"]
    ahead = mean(broken["fgsm"].astype(int) - iterated.astype(int))
    lost = mean(vanishing[correct])
    return MaskingReport(
        threat=threat,
        robust_accuracy=remaining,
        growth=growth,
        vanishing=lost,
        only_search=int(alone.sum()),
        signs={
            "single_step_beats_iterative": _single_step(ahead),
            "search_beats_gradients": _search(alone[correct]),
            "unbounded_attack_fails": _unbounded(growth),
            "gradients_vanish": _vanish(lost),
        },
        evaluation=evaluation,
    )


def speaks(share: Estimate, least: float = _BY_CHANCE) -> bool:
    """Whether a share of images is more than chance; never of a single image.

    Args:
        share: A mean over images.
        least: What it must be above, beside two standard errors.

    Example:
        >>> speaks(mean([1] * 4 + [0] * 96)), speaks(mean([1] * 3 + [0] * 97))
        (True, False)
    """
    sure = share.value > 2.0 * share.standard_error  # False where that is NaN
    return sure and share.value > least


def _single_step(ahead: Estimate) -> Sign:
    more = "more" if ahead.value > 0 else "fewer"
    return Sign(
        speaks(ahead),
        f"one step breaks {abs(ahead.value):.1%} {more} of the images than PGD and BIM",
    )


def _search(alone: np.ndarray) -> Sign:
    return Sign(
        speaks(mean(alone)),
        f"{alone.sum()} of {alone.size} correctly classified images are broken by "
        "random search and by no gradient attack",
    )


def _unbounded(growth: dict[float, Estimate]) -> Sign:
    radius, remaining = list(growth.items())[-1]
    return Sign(
        speaks(remaining),
        f"{remaining.value:.1%} of the images withstand PGD at eps {radius:.4g}, where "
        "any image may be shown",
    )


def _vanish(lost: Estimate) -> Sign:
    return Sign(
        speaks(lost),
        f"{lost.value:.1%} of the correctly classified images have a gradient of 0, or "
        "one too small to lead anywhere",
    )
