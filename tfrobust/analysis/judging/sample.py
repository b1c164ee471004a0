"""Whether there are enough images for a share of them to say anything."""

from __future__ import annotations

from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.results import Check, check, idle
from tfrobust.analysis.masking_report import speaks
from tfrobust.core.estimates import mean

# Of fewer, a fault has to show on more than a fifth of the images to be seen.
_ENOUGH = 20
_CHECK = "sample", "there are enough images to tell"


def sample_check(case: Case) -> Check:
    """Whether so many images are classified correctly that their shares can speak.

    The other checks fail where a share of the images is more than chance. Of one image
    none is, and of a few only a large one: there, to pass says nothing.

    Args:
        case: What is judged.
    """
    count = int(case.correct.sum())
    if not count:
        return idle(*_CHECK, "no image is classified correctly")
    least = least_that_speaks(count)
    shows = f"a fault shows from {least} of them on" if least else "no fault can show"
    reason = (
        f"too few images are classified correctly to tell ({count}, where {_ENOUGH} "
        f"are the least): {shows}"
    )
    evidence = f"{count} are classified correctly, {shows}"
    return check(*_CHECK, evidence, count < _ENOUGH, reason)


def least_that_speaks(count: int) -> int:
    """The smallest number of so many images that is more than chance, or 0 if none is.

    Args:
        count: Of all images.

    Example:
        >>> [least_that_speaks(count) for count in (1, 2, 5, 20, 100)]
        [0, 2, 3, 4, 4]
    """
    for failing in range(1, count + 1):
        if speaks(mean([1] * failing + [0] * (count - failing))):
            return failing
    return 0
