"""Attacks by the names that `--attack` has for them, and what they leave."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfrobust import attacks
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import (
    Images,
    Record,
    Records,
    Row,
    measured,
    table_by_quantity,
)
from tfrobust.cli.tables import Table, percent
from trainers.suites.options import EvaluateConfig


def parse(run: EvaluateConfig, text: str, **settings: Any) -> attacks.Attack:
    """The attack that `--attack` names.

    Args:
        run: The settings of the evaluation.
        text: As `--attack` has it.
        **settings: What the attack is given that does not say otherwise.

    Raises:
        UsageError: If there is no such attack.
    """
    try:
        return attacks.parse(text, **{"seed": run.seed, **settings})
    except ValueError as error:
        raise UsageError(f"--attack={text}: {error}") from error


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
        attack = parse(run, text, **settings)
        if attack.threat.eps == 0:
            raise UsageError(f"--attack={text}: `eps` must be above 0.")
        if attack in made.values():
            raise UsageError(f"--attack={text} is given twice.")
        title = attacks.title(attack)
        made[text if title in made else title] = attack
    return made


@dataclasses.dataclass(frozen=True, eq=False)
class RobustAccuracy:
    """The robust accuracy of a model under some attacks, as records.

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
        """Two records: of the images as they are, and rounded to 8 bits.

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


def robustness(
    run: EvaluateConfig,
    model: str,
    evaluation: attacks.Evaluation,
    of: Images,
    made: Mapping[str, attacks.Attack],
) -> Iterator[Record]:
    """Effects and robust accuracy of each attack, and of all together.

    Args:
        run: The settings of the evaluation.
        model: Name of the model.
        evaluation: The attacks on its images, by title.
        of: The images.
        made: The attacks, by title.
    """
    correct = evaluation.clean_correct
    yield measured(model, "accuracy", correct, of, split="test", attacked=True)
    robust = RobustAccuracy(run, model, evaluation, of)
    for title, attack in made.items():
        setting = {
            "attack": title,
            "threat_model": threat_model(attack),
            "eps": attack.threat.eps,
        }
        yield from robust.records([(title, None)], [attack], **setting)
        yield from effects(model, evaluation.results[title], of, attack=title)
    if len(made) > 1:
        norms = ", ".join(sorted({threat_model(attack) for attack in made.values()}))
        every = [(title, None) for title in made]
        yield from robust.records(
            every, made.values(), attack="all", threat_model=norms, eps=None
        )


def effects(
    model: str, outcome: attacks.AttackOutcome, of: Images, **setting: Any
) -> Iterator[Record]:
    """Success and distortion of an attack, exact and rounded to 8 bits.

    Distortions are those of images that it broke.
    """
    for rounded in (False, True):
        success = outcome.success_rounded if rounded else outcome.success
        length = outcome.distortion_rounded if rounded else outcome.distortion
        counted = np.where(success & ~outcome.already, length, np.nan)
        yield measured(model, "success", success, of, **setting, rounded=rounded)
        yield measured(model, "distortion", counted, of, **setting, rounded=rounded)


def accuracy_table(
    records: Records, made: Mapping[str, attacks.Attack], rounded: bool = True
) -> Table:
    """Accuracy, clean and under each attack: a row a model.

    Args:
        records: What was measured.
        made: The attacks, by title.
        rounded: Whether the accuracy after rounding to 8 bits has columns too.
    """
    titles = [*made, *(["all"] if len(made) > 1 else [])]
    columns: list[Row] = [
        ("clean", "accuracy", {"attacked": None, "split": "test"}),
        ("clean, attacked images", "accuracy", {"attacked": True}),
    ]
    columns += [
        (title, "robust_accuracy", {"attack": title, "rounded": False})
        for title in titles
    ]
    columns += [
        (f"{title}, 8 bits", "robust_accuracy", {"attack": title, "rounded": True})
        for title in (made if rounded else ())
    ]
    return table_by_quantity(records, "model", columns, percent)


def words(made: Mapping[str, attacks.Attack]) -> list[str]:
    """Each attack with its settings, for a sentence."""
    shown = ((title, settings_in_words(attack)) for title, attack in made.items())
    return [f"{title} ({text})" if text else title for title, text in shown]


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
    norm: str = attacks.describe(attack)["norm"]
    return norm
