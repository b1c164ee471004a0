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
        response: How far it moves the model's features; `None` of a SavedModel, whose
            layers cannot be looked at.
    """

    outcome: attacks.AttackOutcome
    response: analysis.LocalResponse | None

    @property
    def adversarial(self) -> np.ndarray:
        """The images after the attack, float32 `[N,H,W,C]`."""
        return np.asarray(self.outcome.adversarial)

    @property
    def broken(self) -> np.ndarray:
        """Where it fooled the model that was right before; bool `[N]`."""
        return self.outcome.success & ~self.outcome.already

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """Which images it broke, and which withstood it; bool `[N]` each."""
        return {"broken": self.broken, "withstood": ~self.outcome.success}


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
