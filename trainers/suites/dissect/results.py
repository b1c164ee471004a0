"""What the dissect suite keeps of a model, for figures and for transfer."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfrobust import analysis, attacks
from tfrobust.cli.loading import Loaded


@dataclasses.dataclass(frozen=True, eq=False)
class Attacked:
    """What one attack did to one model.

    Args:
        outcome: What it did to each image.
        adversarial: float32 `[N,H,W,C]`, the images after the attack, those too that it
            could not fool the model with or that the model had wrong before; see
            `potential.examples`.
        response: How far it moves the model's features; `None` of a SavedModel, whose
            layers cannot be looked at.
    """

    outcome: attacks.AttackOutcome
    adversarial: np.ndarray
    response: analysis.LocalResponse | None

    @property
    def broken(self) -> np.ndarray:
        """Where it fooled the model that was right before; bool `[N]`."""
        return self.outcome.success & ~self.outcome.already

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """All images, those that it broke, those that withstood it; bool `[N]` each.

        Tables 1, 3 and 5 of the paper are of all images, 2 and 4 of the other two
        groups (DIS-S6).
        """
        return {
            "all": np.ones_like(self.outcome.success),
            "broken": self.broken,
            "withstood": ~self.outcome.success,
        }


@dataclasses.dataclass(eq=False)
class ModelResults:
    """What figures show of one model.

    Args:
        model: The model.
        attacked: By the attack's title; the first is the one looked at most closely.
        curves: Accuracy over the scale, by what was filtered or swapped and kind; empty
            of a model that takes no such images.
        difference: float32 `[H,W]`, mean log-amplitude of the adversarial images less
            that of the natural ones.
        transferred: From other models, by name: the images that count, and how far they
            move the features.
    """

    model: Loaded
    attacked: dict[str, Attacked]
    curves: dict[tuple[str, str], analysis.AccuracyCurve]
    difference: np.ndarray
    transferred: dict[str, tuple[np.ndarray, analysis.LocalResponse | None]]

    @property
    def main(self) -> Attacked:
        """By the first attack."""
        return next(iter(self.attacked.values()))
