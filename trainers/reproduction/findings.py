"""What a paper says, and whether it holds here: claims, their rule and their mark.

A claim compares two numbers. A difference counts only if it is larger than two standard
errors of it, the square root of the sum of both squared errors; at exactly two it does
not. A number without an error, such as a time, is compared as it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from tfrobust.cli.tables import number
from trainers.reproduction.results import Results, Source, Value
from trainers.reproduction.tables import as_cell

HOLDS = "holds"
IN_PART = "holds in part"
DOES_NOT = "does not hold at this scale"
NOT_TESTED = "not tested"
MARKS = (HOLDS, IN_PART, DOES_NOT, NOT_TESTED)
"""What a finding can be, in this order."""

BELOW, ABOVE, NOT_BELOW, NOT_ABOVE = "<", ">", "is not <", "is not >"
"""How a claim compares; the last two hold where no difference counts."""

_ERRORS = 2.0


class Answer(NamedTuple):
    """What became of a claim.

    Attributes:
        holds: Whether it holds; `None` if a number was not measured.
        text: The claim, both numbers and the answer.
    """

    holds: bool | None
    text: str


@dataclasses.dataclass(frozen=True, eq=False)
class Claim:
    """One comparison.

    Args:
        left: A number of ours.
        sign: `BELOW`, `ABOVE`, `NOT_BELOW` or `NOT_ABOVE`.
        right: Another, or a number.
    """

    left: Source
    sign: str
    right: Source | float

    @property
    def rule(self) -> str:
        """The comparison in words."""
        right = (
            f"{self.right:g}"
            if isinstance(self.right, float | int)
            else self.right.words
        )
        return f"{self.left.words} {self.sign} {right}"

    def answer(self, results: Results) -> Answer:
        """Whether it holds, and by which numbers."""
        left = self.left.value(results)
        right = (
            Value(float(self.right), math.nan, 0, 0)
            if isinstance(self.right, float | int)
            else self.right.value(results)
        )
        if left is None or right is None:
            return Answer(None, f"{self.rule}: not measured")
        holds = compare(left, self.sign, right)
        shown = f"{number(as_cell(left))} {self.sign} {number(as_cell(right))}"
        return Answer(holds, f"{self.rule} ({shown}): {'yes' if holds else 'no'}")


def compare(left: Value, sign: str, right: Value) -> bool:
    """Whether two numbers compare so, a difference counting beyond two errors.

    Args:
        left: A number.
        sign: As in `Claim`.
        right: Another.

    Example:
        >>> three, one = Value(3.0, 1.0, 9, 1), Value(1.0, 0.0, 9, 1)
        >>> compare(three, ABOVE, one), compare(three, NOT_BELOW, one)
        (False, True)
    """
    errors = [0.0 if math.isnan(v.error) else v.error for v in (left, right)]
    counts = _ERRORS * math.hypot(*errors)
    above, below = left.mean - right.mean > counts, right.mean - left.mean > counts
    return {
        BELOW: below,
        ABOVE: above,
        NOT_BELOW: not below,
        NOT_ABOVE: not above,
    }[sign]


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """A result of a paper in words, with the rule that says whether it holds.

    Args:
        label: Where the paper has it, such as `LCNN-C3`.
        sentence: What it says.
        claims: What must hold of our numbers; without any it cannot be tested here.
        note: What else to say of it.
    """

    label: str
    sentence: str
    claims: Sequence[Claim] = ()
    note: str = ""

    def answers(self, results: Results) -> list[Answer]:
        """What became of each claim."""
        return [claim.answer(results) for claim in self.claims]

    def mark(self, results: Results) -> str:
        """One of `MARKS`.

        It holds if every claim does, and in part if some do, or if all that were
        measured do and others were not.
        """
        answers = [answer.holds for answer in self.answers(results)]
        tested = [holds for holds in answers if holds is not None]
        if not tested:
            return NOT_TESTED
        if all(tested):
            return HOLDS if len(tested) == len(answers) else IN_PART
        return IN_PART if any(tested) else DOES_NOT


def chain(sources: Sequence[Source], sign: str = ABOVE) -> list[Claim]:
    """An order: each number compared to the next.

    Args:
        sources: In the order that is claimed.
        sign: How each compares to the next.
    """
    pairs = zip(sources, sources[1:], strict=False)
    return [Claim(left, sign, right) for left, right in pairs]
