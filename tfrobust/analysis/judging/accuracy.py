"""The accuracy on clean images: how sure it is, and whether it is more than chance."""

from __future__ import annotations

from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.results import Check, check
from tfrobust.analysis.masking_report import speaks
from tfrobust.core.estimates import mean, share_interval

_NAME, _TITLE = "accuracy", "clean images are classified better than by chance"


def accuracy_check(case: Case) -> Check:
    """Clean accuracy with its interval; wrong at chance, or not that of the evaluation.

    Args:
        case: What is judged.
    """
    count, hits = len(case.correct), int(case.correct.sum())
    low, high = share_interval(hits, count)
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
