"""The images that an attack broke by the fewest questions."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfrobust import attacks
from tfrobust.cli.loading import Loaded
from trainers.suites import parts

# Images that are shown of each model.
_SHOWN = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Fallen:
    """The images that fell first: the fewest questions were asked of the model.

    Args:
        images: float32 `[S,H,W,C]` in [0, 1].
        adversarial: float32 `[S,H,W,C]`, what they became.
        labels: int `[S]`.
        answers: int `[S]`, what the model takes the adversarial images for.
        queries: int `[S]`, how often it was asked.
        broken_by: Part of the attack that broke each; empty if it has no parts.
    """

    images: np.ndarray
    adversarial: np.ndarray
    labels: np.ndarray
    answers: np.ndarray
    queries: np.ndarray
    broken_by: tuple[str, ...]


def fell_first(
    model: Loaded,
    images: np.ndarray,
    labels: np.ndarray,
    outcome: attacks.AttackOutcome,
) -> Fallen:
    """The images that an attack broke by the fewest questions, none if it broke none.

    Args:
        model: The model.
        images: float32 `[N,H,W,C]` in [0, 1].
        labels: int `[N]`.
        outcome: Of the attack on them, with its images.
    """
    fell = np.flatnonzero(outcome.success & ~outcome.already)
    first = fell[np.argsort(outcome.queries[fell], kind="stable")][:_SHOWN]
    adversarial = np.asarray(outcome.adversarial)[first]
    answers = first
    if len(first):
        answers = np.argmax(parts.logits_of(model, adversarial), axis=-1)
    by = outcome.broken_by
    return Fallen(
        images[first],
        adversarial,
        labels[first],
        answers,
        outcome.queries[first],
        () if by is None else tuple(by[first].tolist()),
    )
