"""How much a reproduction may cost: what each budget lays over the flagfiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from trainers.reproduction.papers import Paper, Training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """What is trained and measured for a budget.

    Args:
        name: The value of `--budget`.
        about: What it is, in a few words.
        scaled: Whether it scales the papers' settings down; else they are as they are.
        train: Flags over those of each training, if it scales.
        by_paper: More of them, by paper.
        examples: How many test images are attacked.
        geometry_examples: On how many of them gradients and curvature are measured.
        main_seeds: Trainings of each of a paper's main settings.
    """

    name: str
    about: str
    scaled: bool
    train: tuple[str, ...] = ()
    by_paper: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    examples: int
    geometry_examples: int
    main_seeds: int = 1

    def trains(self, training: Training) -> bool:
        """Whether the budget has a training at all."""
        return not (self.scaled and training.only_full)

    def seeds(self, training: Training) -> range:
        """The seeds of a training: the paper's number of them at its own scale."""
        if not self.scaled:
            return range(training.seeds)
        return range(min(self.main_seeds, training.seeds) if training.main else 1)

    def flags(self, paper: Paper, training: Training) -> tuple[str, ...]:
        """What stands behind the flagfile of a training."""
        if not (self.scaled and paper.is_scaled):
            return training.flags
        over = self.by_paper.get(paper.name, ())
        return (*self.train, *over, *training.flags, *training.scaled)

    def data(self, paper: Paper) -> str:
        """The data set in the names of a paper's flagfiles."""
        return paper.data if self.scaled else paper.full_data or paper.data


# Most of what an epoch costs is the number of images.
_HOUR = Budget(
    name="cpu_hour",
    about="width 16, 10,000 training images or fewer, few epochs, one seed",
    scaled=True,
    train=("--flagfile=fast", "--epochs=5", "--train_examples=10000"),
    by_paper={"pag": ("--train_examples=5000",)},
    examples=200,
    geometry_examples=100,
)
_NIGHT = Budget(
    name="cpu_night",
    about="width 16, all training images, 20 epochs, two seeds of the main settings",
    scaled=True,
    train=("--flagfile=fast",),
    examples=500,
    geometry_examples=200,
    main_seeds=2,
)
_GPU = Budget(
    name="gpu",
    about="the papers' settings, width and seeds, all test images",
    scaled=False,
    examples=10_000,
    # A tenth of the data, as in the LCNN authors' code (LCNN-R11).
    geometry_examples=1_000,
)
BUDGETS = {budget.name: budget for budget in (_HOUR, _NIGHT, _GPU)}
"""Every budget by name."""
