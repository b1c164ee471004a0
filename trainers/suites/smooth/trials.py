"""The attacks of the smooth suite, and how each is run.

Zhang et al. 2020, Smooth Adversarial Examples: an attack within a radius is run at
several, and the least distorted success counts (SMO-S7); for transfer it is run at its
own eps alone. Between them are attacks that look for the smallest perturbation by
themselves.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfrobust import attacks
from tfrobust.cli.program import UsageError
from trainers.suites import attacks as suite_attacks
from trainers.suites.options import EvaluateConfig
from trainers.suites.smooth.suite import Budget, SmoothSettings

_SEARCH = "steps=100,search_steps=9,initial_const=15,early_abort=false,rounding=true"

DEFAULT_ATTACKS = (
    "fgsm:eps=0.3",
    "bim:eps=0.3,steps=20",
    "pgd:norm=2,eps=5,steps=20,random_start=false",
    "smooth_pgd:norm=2,eps=5,steps=20,alpha=0.95,bandwidth=1",
    f"cw:{_SEARCH},learning_rate=0.1",
    f"smooth_cw:{_SEARCH},learning_rate=0.2,alpha=0.95,bandwidth=1",
    f"smooth_cw:{_SEARCH},learning_rate=0.2,alpha=0.95,bandwidth=1,roughness_weight=30",
)
"""Those of the paper (SMO-S3, SMO-S4) at more steps, and one that weighs roughness.

`evaluate_smooth_paper.flags` has those of the paper at its own settings.
"""

_TITLES = {
    ("fgsm", "Linf"): "FGSM",
    ("bim", "Linf"): "I-FGSM",
    ("pgd", "L2"): "PGD2",
    ("smooth_pgd", "L2"): "sPGD2",
    ("cw", "L2"): "C&W",
    ("smooth_cw", "L2"): "sC&W",
}
"""What the paper calls an attack, by name and norm."""

SMALLEST, AT_EPS, BUDGET = "smallest_success", "at_eps", "budget"
"""The protocols: how an attack is run, and which of its images counts."""

_COUNTS = ("queries", "steps", "search_steps", "restarts", "candidates")
"""Settings whose product is the cost of an attack."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """An attack, and how it is run.

    Args:
        attack: The attack.
        radii: The radii at which it is run, rising; empty for an attack that looks for
            the smallest perturbation by itself.
    """

    attack: attacks.Attack
    radii: tuple[float, ...] = ()

    @property
    def cost(self) -> int | None:
        """The most gradients that it takes for an image, over all radii.

        Queries of an attack without gradients; `None` if its settings do not say.
        """
        counts = [
            getattr(self.attack, name) for name in _COUNTS if hasattr(self.attack, name)
        ]
        if not counts and not isinstance(self.attack, attacks.FGSM):
            return None
        return math.prod(counts) * max(1, len(self.radii))

    @property
    def unit(self) -> str:
        """What the cost counts: gradients or queries."""
        return "queries" if hasattr(self.attack, "queries") else "gradients"

    @property
    def exact(self) -> bool:
        """Whether it spends all of them on every image."""
        if isinstance(self.attack, attacks.FGSM | attacks.DDN):
            return True
        stops = [
            getattr(self.attack, name)
            for name in ("early_stop", "early_abort")
            if hasattr(self.attack, name)
        ]
        return bool(stops) and not any(stops)

    def at_eps(self) -> Trial:
        """The same at the attack's own radius alone, not stopping at a success.

        That is the attack as it is without a protocol around it. Stopped at its first
        success it would hardly be beyond the boundary.
        """
        radius = self.attack.budget
        return Trial(self.attack.for_training(), () if radius is None else (radius,))


class Case(NamedTuple):
    """What tells the records of a trial from those of others.

    Attributes:
        attack: Its title in tables.
        protocol: `SMALLEST`, `AT_EPS` or `BUDGET`.
        budget: The budget as text, if it is run at one.
    """

    attack: str
    protocol: str
    budget: str | None = None

    @property
    def setting(self) -> dict[str, Any]:
        """The same as settings of a record."""
        return {name: value for name, value in self._asdict().items() if value}


def make(run: EvaluateConfig, own: SmoothSettings) -> dict[Case, Trial]:
    """Everything that is run on every model.

    Raises:
        UsageError: If there is no such attack, or a flag has nothing to act on.
    """
    titled: dict[str, Trial] = {}
    for name, attack in suite_attacks.make(run, DEFAULT_ATTACKS).items():
        title = _title(attack)
        trial = Trial(attack, _radii(attack, own))
        titled[name if title in titled else title] = trial
    smallest = {Case(title, SMALLEST): trial for title, trial in titled.items()}
    at_eps = {
        Case(title, AT_EPS): trial.at_eps()
        for title, trial in titled.items()
        if trial.radii
    }
    budgets = {
        Case(title, BUDGET, str(budget)): trial
        for budget in own.parsed_budgets
        for title, trial in _within(titled, budget)
    }
    if own.radii != SmoothSettings.radii and not at_eps:
        raise UsageError("--radii needs an --attack within a radius, such as pgd.")
    for norm in ("Linf", "L2"):
        norms = [suite_attacks.threat_model(each.attack) for each in at_eps.values()]
        if own.given_radii(norm) and norm not in norms:
            raise UsageError(
                f"--{norm.lower()}_radii needs an --attack within an {norm} radius."
            )
    if own.budgets not in ("", SmoothSettings.budgets) and not budgets:
        raise UsageError("--budgets needs an --attack that searches: cw or smooth_cw.")
    return {**smallest, **at_eps, **budgets}


def _title(attack: attacks.Attack) -> str:
    about = attacks.describe(attack)
    title = _TITLES.get((about["method"], about["norm"]), attacks.title(attack))
    weight = about.get("roughness_weight")
    return f"{title}, roughness {weight:g}" if weight else title


def _radii(attack: attacks.Attack, own: SmoothSettings) -> tuple[float, ...]:
    """Those given for its norm, or evenly spaced ones up to its eps."""
    eps, count = attack.budget, own.radii
    if eps is None:
        return ()
    given = own.given_radii(suite_attacks.threat_model(attack))
    return given or tuple(np.linspace(eps / count, eps, count).tolist())


def _within(trials: Mapping[str, Trial], budget: Budget) -> Iterator[tuple[str, Trial]]:
    """Every attack that searches, at a budget; C&W in both of its spaces."""
    for title, trial in trials.items():
        if not (
            hasattr(trial.attack, "search_steps") and hasattr(trial.attack, "steps")
        ):
            continue
        settings = {"search_steps": budget.searches, "steps": budget.steps}
        attack = dataclasses.replace(trial.attack, **settings)
        if type(attack) is not attacks.CarliniWagnerL2:
            yield title, Trial(attack)
            continue
        for space in ("tanh", "clip"):
            yield f"{title}, {space}", Trial(dataclasses.replace(attack, space=space))
