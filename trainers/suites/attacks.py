"""Attacks by the names that `--attack` has for them, and what they leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfrobust import attacks
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import Images, Record, measured
from trainers.suites.options import EvaluateConfig


def make(
    run: EvaluateConfig, default: Sequence[str], **settings: Any
) -> dict[str, attacks.Attack]:
    """The attacks of `--attack`, or else those of a suite, by a title for tables.

    Args:
        run: The settings of the evaluation.
        default: The suite's own attacks, as `--attack` would name them.
        **settings: What an attack is given that does not say otherwise.

    Raises:
        UsageError: If there is no such attack, or two are the same.
    """
    made: dict[str, attacks.Attack] = {}
    for text in run.attack or default:
        try:
            attack = attacks.parse(text, **{"seed": run.seed, **settings})
        except ValueError as error:
            raise UsageError(f"--attack={text}: {error}") from error
        title = attacks.title(attack)
        if title in made:
            title = text
        if title in made:
            raise UsageError(f"--attack={text} is given twice.")
        made[title] = attack
    return made


def robust_accuracy(
    run: EvaluateConfig,
    model: str,
    evaluation: attacks.Evaluation,
    names: Iterable[str],
    of: Images,
    made: Iterable[attacks.Attack],
    *,
    eps: float | None = None,
    **setting: Any,
) -> list[Record]:
    """Two records, as found and rounded to 8 bits: what several attacks leave together.

    Args:
        run: The settings of the evaluation.
        model: Name of the model.
        evaluation: The attacks on its images.
        names: Those that count, by their names in `evaluation`.
        of: The images.
        made: The attacks themselves.
        eps: Count successes up to this distortion only.
        **setting: What tells the records from others.
    """
    names, made = list(names), list(made)
    about = {
        "dataset": run.dataset,
        "clean_accuracy": float(np.mean(evaluation.clean_correct)),
        "attacks": [attacks.spec(one) for one in made],
        "seed": run.seed,
    }
    return [
        measured(
            model,
            "robust_accuracy",
            evaluation.withstood(names, rounded=rounded, eps=eps),
            of,
            about,
            **setting,
            rounded=rounded,
        )
        for rounded in (False, True)
    ]


def threat_model(attack: attacks.Attack) -> str:
    """L1, L2 or Linf, the norm of an attack."""
    return f"L{attack.threat.norm}"
