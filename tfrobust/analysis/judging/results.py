"""What a judgement is: a verdict, a sentence, and a line for each check."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfrobust.settings import require

OUTCOMES = ("passed", "doubtful", "wrong", "not applicable")

CAVEAT = (
    "Passing these checks does not replace an adaptive attack, one that is made for "
    "this defence."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One check of an evaluation, and how it came out.

    Attributes:
        name: A short name, such as `"convergence"`.
        title: What should hold, in words.
        outcome: `"passed"`, `"doubtful"`, `"wrong"` or `"not applicable"`.
        evidence: The numbers, in one line.
        reason: What is the matter, in a few words; empty unless it is doubtful or
            wrong.

    Raises:
        ValueError: If `outcome` is none of the four, or a reason is missing.

    Example:
        >>> check = Check(name="range", title="images are images", outcome="passed",
        ...               evidence="all 3 of 3", reason="")
        >>> check.outcome
        'passed'
    """

    name: str
    title: str
    outcome: str
    evidence: str
    reason: str = ""

    def __post_init__(self) -> None:
        """Check the outcome."""
        require(self.outcome in OUTCOMES, "outcome", self.outcome, f"one of {OUTCOMES}")
        if self.failed and not self.reason:
            raise ValueError(
                "`reason` must say what is the matter where a check is not passed. "
                f"Received: reason={self.reason!r} of {self.name}"
            )

    @property
    def failed(self) -> bool:
        """Whether it is doubtful or wrong."""
        return self.outcome in ("doubtful", "wrong")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """Whether an evaluation can be trusted, and why.

    It prints as a table. Passing every check does not replace an adaptive attack.

    Attributes:
        verdict: `"Wrong"` if any check is wrong, else `"Doubtful"` if any is doubtful,
            else `"Trustworthy"`.
        sentence: The verdict, and the reasons behind it.
        checks: Every check, those without a subject here included.

    Example:
        >>> check = Check(name="range", title="images are images", outcome="wrong",
        ...               evidence="2 of 3 are not", reason="2 images are none")
        >>> judgement = judged([check])
        >>> judgement.sentence
        'Wrong: 2 images are none'
        >>> [check.name for check in judgement.failed()]
        ['range']
    """

    verdict: str
    sentence: str
    checks: tuple[Check, ...]

    def failed(self) -> tuple[Check, ...]:
        """The checks that are wrong, then those that are doubtful."""
        return tuple(
            check
            for outcome in ("wrong", "doubtful")
            for check in self.checks
            if check.outcome == outcome
        )

    def __getitem__(self, name: str) -> Check:
        """The check of a name; raises `KeyError` if there is none."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def table(self) -> list[tuple[str, str, str]]:
        """Rows of a title, an outcome and the evidence, in the order of the checks."""
        return [(check.title, check.outcome, check.evidence) for check in self.checks]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values, as `json.dump` takes them."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "note": CAVEAT,
        }

    def __str__(self) -> str:
        rows = self.table()
        title, outcome = (max(len(row[i]) for row in rows) for i in (0, 1))
        lines = [f"{a:<{title}}  {b:<{outcome}}  {c}".rstrip() for a, b, c in rows]
        return "\n".join([self.sentence, "", *lines, "", CAVEAT])


def judged(checks: Sequence[Check]) -> Judgement:
    """The judgement that checks amount to.

    Args:
        checks: At least one.

    Example:
        >>> judged([Check(name="a", title="a", outcome="passed", evidence="")]).verdict
        'Trustworthy'
    """
    outcomes = [check.outcome for check in checks]
    verdict = "Trustworthy"
    if "wrong" in outcomes:
        verdict = "Wrong"
    elif "doubtful" in outcomes:
        verdict = "Doubtful"
    result = Judgement(verdict=verdict, sentence=verdict, checks=tuple(checks))
    reasons = "; ".join(check.reason for check in result.failed())
    if not reasons:
        return result
    return dataclasses.replace(result, sentence=f"{verdict}: {reasons}")


def check(
    name: str,
    title: str,
    evidence: str,
    failed: bool,
    reason: str,
    outcome: str = "doubtful",
) -> Check:
    """A check that came out one way or the other.

    Args:
        name: As of `Check`.
        title: As of `Check`.
        evidence: As of `Check`.
        failed: Whether it failed.
        reason: What is the matter if it did.
        outcome: What it is then.

    Example:
        >>> check("a", "a holds", "3 of 3", False, "a does not").outcome
        'passed'
    """
    return Check(
        name=name,
        title=title,
        outcome=outcome if failed else "passed",
        evidence=evidence,
        reason=reason if failed else "",
    )


def idle(name: str, title: str, why: str) -> Check:
    """A check that has no subject here.

    Example:
        >>> idle("a", "a holds", "there is no a").outcome
        'not applicable'
    """
    return Check(name=name, title=title, outcome="not applicable", evidence=why)
