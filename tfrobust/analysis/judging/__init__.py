"""Whether an evaluation of robustness can be trusted, checked line by line.

Every way of overstating robustness that is known of published evaluations is a check,
one file for those that belong together. What they cost and which attacks they run is in
`judging.assault`.
"""

from tfrobust.analysis.judging.results import Check, Judgement
from tfrobust.analysis.judging.trial import judge

__all__ = ["Check", "Judgement", "judge"]
