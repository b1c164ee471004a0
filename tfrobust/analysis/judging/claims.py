"""What an evaluation says of each image, within the ball that is judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from tfrobust.attacks import AttackOutcome, Evaluation, ThreatModel
from tfrobust.attacks.threat import rounded_up


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claims:
    """Which of N images an evaluation breaks.

    Attributes:
        broken: By attack, bool `[N]`: broken within the ball.
        rounded: The same for images rounded to 8 bits.
        searches: The names of the attacks that ask for no gradient.
    """

    broken: dict[str, np.ndarray]
    rounded: dict[str, np.ndarray]
    searches: frozenset[str] = frozenset()

    def by_gradient(self) -> dict[str, np.ndarray]:
        """Those of attacks that ask for gradients."""
        return {
            name: rows
            for name, rows in self.broken.items()
            if name not in self.searches
        }

    def by_search(self) -> np.ndarray | None:
        """What attacks without a gradient break together; `None` if there is none."""
        rows = [rows for name, rows in self.broken.items() if name in self.searches]
        return np.any(rows, axis=0) if rows else None

    def union(self, rounded: bool = False) -> np.ndarray:
        """What any attack breaks, bool `[N]`."""
        rows = self.rounded if rounded else self.broken
        return np.any(list(rows.values()), axis=0)


def claims_of(
    evaluation: Evaluation,
    norm: float | str,
    eps: float,
    names: list[str] | None = None,
) -> Claims:
    """What an evaluation claims of a ball.

    An attack counts that is of this norm: one of a smaller radius as it is, one of a
    larger radius or of none for its successes within this one. Each stage of an
    ensemble is an attack of its own. Which ask for no gradient is what
    `AttackOutcome.gradient_free` says; those of which nothing is said follow one.

    Args:
        evaluation: Of N images.
        norm: Of the ball.
        eps: Its radius.
        names: The attacks that may count; all if `None`.

    Raises:
        ValueError: If none of its attacks is of this norm.
    """
    chosen = {
        name: outcome
        for name, outcome in evaluation.results.items()
        if outcome.threat.order == ThreatModel(norm).order
        and (names is None or name in names)
    }
    if not chosen:
        norms = sorted({str(each.threat.norm) for each in evaluation.results.values()})
        raise ValueError(
            f"`evaluation` must hold an attack of the norm {norm!r}. Received: "
            + (f"attacks of {', '.join(norms)}" if norms else "no attack")
        )
    chosen = dict(_stages(chosen))
    limit = rounded_up(eps)
    broken = {name: _within(outcome, limit) for name, outcome in chosen.items()}
    rounded = {
        # Rounding moves a pixel by up to half a level, and counts all the same.
        name: broken[name] & outcome.success_rounded
        for name, outcome in chosen.items()
    }
    searches = frozenset(name for name, each in chosen.items() if each.gradient_free)
    return Claims(broken=broken, rounded=rounded, searches=searches)


def _stages(
    outcomes: dict[str, AttackOutcome],
) -> Iterator[tuple[str, AttackOutcome]]:
    """The outcomes, one for each stage of an attack that has some.

    An image that only the random search of an ensemble breaks speaks against the
    gradients that were followed before it. What is left in `gradient_free` is the stage
    itself, if it asks for none.
    """
    for name, outcome in outcomes.items():
        if outcome.broken_by is None:
            yield name, outcome
            continue
        for stage in outcome.seconds:
            own = outcome.already | (outcome.broken_by == stage)
            yield (
                f"{name}, {stage}",
                dataclasses.replace(
                    outcome,
                    success=outcome.success & own,
                    success_rounded=outcome.success_rounded & own,
                    gradient_free=(stage,) if stage in outcome.gradient_free else (),
                ),
            )


def _within(outcome: AttackOutcome, limit: float) -> np.ndarray:
    return outcome.success & (outcome.distortion <= limit)
