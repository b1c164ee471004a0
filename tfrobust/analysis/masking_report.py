"""Signs of masked gradients, read off what attacks did."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tfrobust.analysis.masking_attacks import SEARCH, growth_name
from tfrobust.attacks import Evaluation, ThreatModel
from tfrobust.core.estimates import Estimate, mean

# The share of images that may speak for masking without there being any: a gradient
# attack on an honest model now and then heads for the wrong class.
_BY_CHANCE = 0.01


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
            `"pgd_dlr"` (from 3 classes on), `"square"`, and `"union"` for those that
            withstand each of them.
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


def report_of(
    threat: ThreatModel,
    evaluation: Evaluation,
    known: Mapping[str, np.ndarray],
    searched: np.ndarray | None,
    radii: list[float],
    vanishing: np.ndarray,
) -> MaskingReport:
    """The report of attacks that were run.

    Args:
        threat: Of all attacks but those of `radii`.
        evaluation: Of N images; those of larger radii by `growth_name`.
        known: By name, which images other gradient attacks break, bool `[N]`.
        searched: Which images other random searches break, bool `[N]`.
        radii: The larger radii.
        vanishing: Where the margin's gradient leads nowhere, bool `[N]`.
    """
    grown = {radius: growth_name(radius) for radius in radii}
    names = [name for name in evaluation.results if name not in grown.values()]
    correct = evaluation.clean_correct
    broken = {name: evaluation.results[name].success for name in names} | dict(known)
    remaining = {"clean": evaluation.accuracy()}
    remaining.update({name: mean(correct & ~lost) for name, lost in broken.items()})
    by_gradient = np.any([broken[name] for name in broken if name != SEARCH], axis=0)
    by_search = broken.get(SEARCH, np.zeros_like(correct))
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
            "search_beats_gradients": search_sign(alone[correct]),
            "unbounded_attack_fails": _unbounded(growth),
            "gradients_vanish": _vanish(lost),
        },
        evaluation=evaluation,
    )


def _single_step(ahead: Estimate) -> Sign:
    more = "more" if ahead.value > 0 else "fewer"
    return Sign(
        speaks(ahead),
        f"one step breaks {abs(ahead.value):.1%} {more} of the images than PGD and BIM",
    )


def search_sign(alone: np.ndarray) -> Sign:
    """Whether a random search breaks what gradients do not.

    Args:
        alone: bool `[M]` of the images that are classified correctly.

    Example:
        >>> search_sign(np.array([True] * 4 + [False] * 96)).present
        True
    """
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
