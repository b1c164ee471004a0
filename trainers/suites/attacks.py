"""Attacks by the names that `--attack` has for them, and what they leave."""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True, eq=False)
class Left:
    """What attacks leave of a model's accuracy, as records.

    Args:
        run: The settings of the evaluation.
        model: Name of the model.
        evaluation: The attacks on its images.
        of: The images.
    """

    run: EvaluateConfig
    model: str
    evaluation: attacks.Evaluation
    of: Images

    def records(
        self,
        counted: Sequence[tuple[str, float | None]],
        made: Iterable[attacks.Attack],
        **setting: Any,
    ) -> list[Record]:
        """Two records of the robust accuracy: as found, and rounded to 8 bits.

        An image that any one attack breaks is broken.

        Args:
            counted: The attacks that count, by their names in `evaluation`, each with
                the largest distortion up to which it counts, or `None`.
            made: The attacks themselves.
            **setting: What tells the records from others.
        """
        about = {
            "dataset": self.run.dataset,
            "clean_accuracy": float(np.mean(self.evaluation.clean_correct)),
            "attacks": list(dict.fromkeys(map(attacks.spec, made))),
            "seed": self.run.seed,
        }
        return [
            measured(
                self.model,
                "robust_accuracy",
                np.all(
                    [
                        self.evaluation.withstood([name], rounded=rounded, eps=eps)
                        for name, eps in counted
                    ],
                    axis=0,
                ),
                self.of,
                about,
                **setting,
                rounded=rounded,
            )
            for rounded in (False, True)
        ]


def settings_in_words(attack: attacks.Attack) -> str:
    """The settings of an attack that a sentence about it should name.

    Example:
        >>> settings_in_words(attacks.PGD(norm=2, eps=0.5, steps=20))
        '20 steps, 1 start'
    """
    words = []
    for field, unit in (
        ("search_steps", "search"),
        ("steps", "step"),
        ("restarts", "start"),
        ("queries", "query"),
    ):
        count = getattr(attack, field, None)
        if count is not None:
            ending = "" if count == 1 else "es" if unit == "search" else "s"
            words.append(f"{count} {unit}{ending}".replace("querys", "queries"))
    if (size := getattr(attack, "step_size", None)) is not None:
        words.append(f"of {255 * size:.3g}/255 each")
    return ", ".join(words)


def threat_model(attack: attacks.Attack) -> str:
    """L1, L2 or Linf, the norm of an attack."""
    return f"L{attack.threat.norm}"
