"""The accuracy on clean images: how sure it is, and whether it is more than chance."""

from __future__ import annotations

import math

from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.results import Check, check
from tfrobust.analysis.masking_report import speaks
from tfrobust.core.estimates import mean

# Of the normal distribution, for an interval that holds 95 times in 100.
_QUANTILE = 1.959963984540054
_NAME, _TITLE = "accuracy", "clean images are classified better than by chance"


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The interval of a share that holds 95 times in 100, by Wilson's score.

    Unlike the share plus and minus its error it stays in [0, 1], and is not empty where
    all or none are hits.

    Args:
        hits: At least 0.
        count: At least `hits`, and 1.

    Reference: Wilson (1927), Journal of the American Statistical Association 22.

    Example:
        >>> [round(bound, 3) for bound in wilson(0, 10)]
        [0.0, 0.278]
    """
    square = _QUANTILE**2
    middle = (hits + square / 2.0) / (count + square)
    spread = hits * (count - hits) / count + square / 4.0
    width = _QUANTILE * math.sqrt(spread) / (count + square)
    return max(0.0, middle - width), min(1.0, middle + width)


def accuracy_check(case: Case) -> Check:
    """Clean accuracy with its interval; wrong at chance, or not that of the evaluation.

    Args:
        case: What is judged.
    """
    count, hits = len(case.correct), int(case.correct.sum())
    low, high = wilson(hits, count)
    chance = 1.0 / case.classes
    evidence = (
        f"{hits / count:.1%} of {count} images ({low:.1%} to {high:.1%}), "
        f"chance is {chance:.1%}"
    )
    if case.evaluation is not None:
        other = case.evaluation.clean_correct != case.correct
        if speaks(mean(other)):
            evidence += f"; the evaluation says otherwise of {other.sum()}"
            reason = (
                f"the model disagrees with the evaluation about {other.sum()} of "
                f"{count} clean images"
            )
            return check(_NAME, _TITLE, evidence, True, reason, "wrong")
    # Few images tell little: then it is open whether it is chance.
    outcome = "wrong" if hits / count <= 1.5 * chance else "doubtful"
    reason = f"a clean accuracy of {hits / count:.0%} is at chance ({chance:.0%})"
    return check(_NAME, _TITLE, evidence, low <= chance, reason, outcome)
