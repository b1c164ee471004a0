"""The attacks of the smooth suite, by the names that its paper has for them.

Zhang et al. 2020, Smooth Adversarial Examples, section 5.1.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfrobust import attacks
from tfrobust.cli.program import UsageError
from trainers.suites.options import NORMS, Budget, EvaluateConfig


@dataclasses.dataclass(frozen=True)
class Trial:
    """An attack, and how it is run.

    Args:
        attack: The attack; its own radius, if it has one, is the largest.
        radii: The radii at which it is run, rising; empty for an attack that looks for
            the smallest perturbation by itself.
        gradients: The most gradients that it takes for an image, over all radii.
        exact: Whether it takes all of them for every image.
    """

    attack: attacks.Attack
    radii: tuple[float, ...]
    gradients: int
    exact: bool

    def at_largest(self) -> Trial:
        """The same at its largest radius alone, not stopping at a success.

        That is the attack as it is without a protocol around it. Stopped at its first
        success it would hardly be beyond the boundary.
        """
        attack, radius = self.attack, self.radii[-1]
        if isinstance(attack, attacks.PGD | attacks.BIM):
            attack = dataclasses.replace(attack, early_stop=False)
        return Trial(attack, (radius,), self.gradients // len(self.radii), True)


def norm_of(trial: Trial) -> str:
    """L2 or Linf, the norm of an attack's ball."""
    return NORMS[str(trial.attack.threat.norm)]


def make_trials(config: EvaluateConfig) -> dict[str, Trial]:
    """Every attack of the tables by name, in their order.

    Raises:
        UsageError: If there is no attack of these settings.
    """
    try:
        trials = {**_within_radii(config), **_searching(config)}
    except ValueError as error:
        raise UsageError(f"The attacks cannot be made: {error}") from error
    return trials


def make_budgets(config: EvaluateConfig) -> dict[tuple[str, Budget], Trial]:
    """C&W in both spaces and sC&W, by name and budget.

    Raises:
        UsageError: If a budget is none.
    """
    trials = {}
    for budget in config.parsed_budgets:
        trials["C&W, tanh", budget] = _carlini_wagner(config, budget, "tanh")
        trials["C&W, clip", budget] = _carlini_wagner(config, budget, "clip")
        trials["sC&W", budget] = _smooth_carlini_wagner(config, budget)
    return trials


def _within_radii(config: EvaluateConfig) -> dict[str, Trial]:
    linf, l2, steps = config.linf_eps, config.l2_eps, config.steps
    pgd: dict[str, Any] = {"norm": 2, "eps": l2, "steps": steps, "random_start": False}
    smooth = attacks.SmoothPGD(**pgd, **smoothing_settings(config))
    iterated = attacks.BIM(eps=linf, steps=steps)
    return {
        "FGSM": Trial(attacks.FGSM(eps=linf), _radii(config, linf), config.radii, True),
        "I-FGSM": _iterated(config, iterated, linf),
        "PGD2": _iterated(config, attacks.PGD(**pgd), l2),
        "sPGD2": _iterated(config, smooth, l2),
    }


def _iterated(config: EvaluateConfig, attack: attacks.Attack, largest: float) -> Trial:
    """A trial that stops at successes, so that it may take fewer gradients."""
    gradients = config.steps * config.radii
    return Trial(attack, _radii(config, largest), gradients, False)


def _radii(config: EvaluateConfig, largest: float) -> tuple[float, ...]:
    count = config.radii
    return tuple(np.linspace(largest / count, largest, count).tolist())


def _searching(config: EvaluateConfig) -> dict[str, Trial]:
    budget = Budget(config.cw_searches, config.cw_steps)
    trials = {
        "C&W": _carlini_wagner(config, budget, config.cw_space),
        "sC&W": _smooth_carlini_wagner(config, budget),
    }
    if weight := config.roughness_weight:
        smoother = _smooth_carlini_wagner(config, budget, weight)
        trials[f"sC&W, roughness {weight:g}"] = smoother
    return trials


def _carlini_wagner(config: EvaluateConfig, budget: Budget, space: str) -> Trial:
    settings = _search(config, budget)
    attack = attacks.CarliniWagnerL2(
        learning_rate=config.cw_rate, space=space, **settings
    )
    return Trial(attack, (), budget.searches * budget.steps, True)


def _smooth_carlini_wagner(
    config: EvaluateConfig, budget: Budget, roughness_weight: float = 0.0
) -> Trial:
    attack = attacks.SmoothCarliniWagner(
        learning_rate=config.smooth_rate,
        roughness_weight=roughness_weight,
        **_search(config, budget),
        **smoothing_settings(config),
    )
    return Trial(attack, (), budget.searches * budget.steps, True)


def _search(config: EvaluateConfig, budget: Budget) -> dict[str, Any]:
    """What C&W and sC&W have in common; none ends early, so budgets are spent."""
    return {
        "steps": budget.steps,
        "search_steps": budget.searches,
        "initial_const": config.cw_const,
        "confidence": config.cw_confidence,
        "rounding": config.cw_rounding,
        "early_abort": False,
    }


def smoothing_settings(config: EvaluateConfig) -> dict[str, Any]:
    """The settings of a smooth attack's smoother."""
    return {"alpha": config.smooth_alpha, **graph_settings(config)}


def graph_settings(config: EvaluateConfig) -> dict[str, Any]:
    """The settings of the images' graph, for `smoothing.grid_graph` as well."""
    return {
        "bandwidth": config.smooth_bandwidth,
        "kernel": config.smooth_kernel,
        "neighbors": config.smooth_neighbors,
    }
