"""What attacks did to the images of a data set, and what is left of the accuracy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrobust.attacks.threat import ThreatModel, rounded_up
from tfrobust.attacks.verdicts import AttackResult
from tfrobust.core.estimates import Estimate, mean

# The fields of an outcome that hold a row for each image.
_ARRAYS = (*AttackResult._fields, "broken_by")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackOutcome:
    """What one attack did to each of N images; the arrays of `AttackResult`.

    Attributes:
        threat: Norm and radius of the attack.
        success: bool `[N]`.
        distortion: float32 `[N]`.
        success_rounded: bool `[N]`.
        distortion_rounded: float32 `[N]`.
        already: bool `[N]`.
        queries: int32 `[N]`, 0 where the attack does not count.
        adversarial: float32 `[N,H,W,C]`, or `None` if they were not kept.
        broken_by: string `[N]`, which of the stages of an attack that has some (see
            `Attack.stages`) broke each image; empty where none did or none was needed.
            `None` of other attacks.
        seconds: How long each stage took, in seconds, by name; an attack without stages
            is one of the name `""`. The first call on a model includes compiling.
        gradient_free: Names of the stages that ask for no gradient; `""` of an attack
            without stages.
    """

    threat: ThreatModel
    success: np.ndarray
    distortion: np.ndarray
    success_rounded: np.ndarray
    distortion_rounded: np.ndarray
    already: np.ndarray
    queries: np.ndarray
    adversarial: np.ndarray | None
    broken_by: np.ndarray | None = None
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    gradient_free: tuple[str, ...] = ()

    def mean_distortion(self, rounded: bool = False) -> Estimate:
        """Distortion over the successes on images that were classified correctly."""
        success = self.success_rounded if rounded else self.success
        distortion = self.distortion_rounded if rounded else self.distortion
        return mean(distortion[success & ~self.already])

    def select(self, rows: Any) -> AttackOutcome:
        """The outcome for some of the images.

        Args:
            rows: bool `[N]`, or the indices of the images.
        """
        arrays = {name: _rows(getattr(self, name), rows) for name in _ARRAYS}
        return dataclasses.replace(self, **arrays)

    def means(self) -> dict[str, Estimate]:
        """Share of successes, and mean distortion as `mean_distortion` has it.

        Returns:
            `success` and `distortion`, and both after rounding, as `success_rounded`
            and `distortion_rounded`.
        """
        return {
            "success": mean(self.success),
            "distortion": self.mean_distortion(),
            "success_rounded": mean(self.success_rounded),
            "distortion_rounded": self.mean_distortion(rounded=True),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Several attacks on the same images.

    Attributes:
        labels: int32 `[N]`.
        clean_correct: bool `[N]`, whether the clean image is classified correctly.
        results: The outcome of each attack by name.
    """

    labels: np.ndarray
    clean_correct: np.ndarray
    results: dict[str, AttackOutcome]

    def accuracy(self) -> Estimate:
        """Share of clean images classified correctly."""
        return mean(self.clean_correct)

    def withstood(
        self,
        names: Sequence[str] | None = None,
        rounded: bool = False,
        eps: float | None = None,
    ) -> np.ndarray:
        """Which images are classified correctly and withstand every attack, `[N]`.

        An image counts as broken if any one of the attacks breaks it: the union for
        each image, never a mean over attacks.

        Args:
            names: The attacks that count; all if `None`.
            rounded: Whether adversarial images are rounded to 8 bits before they are
                shown to the model. Rounding may take one out of its ball, by up to
                half a level in a pixel; it counts all the same. An image that a stage
                has broken is shown to no later one, so that of an attack in stages this
                is an upper bound.
            eps: Count successes up to this distortion only, which is what makes a
                robust accuracy of attacks that look for the smallest perturbation. At
                most the radius of each attack that has one.

        Raises:
            ValueError: If a name is none of the attacks', or `eps` is more than the
                radius of one, which says nothing of images so far away.
        """
        chosen = list(self.results) if names is None else list(names)
        for name in chosen:
            if name not in self.results:
                raise ValueError(
                    f"`names` must be among {', '.join(self.results)}. "
                    f"Received: {name!r}"
                )
        held = self.clean_correct.copy()
        for name in chosen:
            outcome = self.results[name]
            _check_radius(name, outcome.threat.eps, eps)
            success = outcome.success_rounded if rounded else outcome.success
            if eps is not None:
                near = outcome.distortion_rounded if rounded else outcome.distortion
                # A radius in float32 may be above eps.
                success = success & (near <= rounded_up(eps))
            held &= ~success
        return held

    def robust_accuracy(
        self,
        names: Sequence[str] | None = None,
        rounded: bool = False,
        eps: float | None = None,
    ) -> Estimate:
        """Share of images that are classified correctly and withstand every attack.

        Args:
            names: As for `withstood`.
            rounded: As for `withstood`.
            eps: As for `withstood`.

        Raises:
            ValueError: If a name is none of the attacks'.
        """
        return mean(self.withstood(names, rounded, eps))

    def select(self, rows: Any) -> Evaluation:
        """The evaluation of some of the images.

        Args:
            rows: bool `[N]`, or the indices of the images.

        Example:
            Robust accuracy of one class: `evaluation.select(evaluation.labels == 3)`.
        """
        return Evaluation(
            labels=_rows(self.labels, rows),
            clean_correct=_rows(self.clean_correct, rows),
            results={name: each.select(rows) for name, each in self.results.items()},
        )

    def means(self) -> dict[str, Estimate]:
        """Accuracy, and robust accuracy under all attacks and under each.

        Returns:
            `accuracy`, `robust_accuracy` and, for each attack, `robust_accuracy NAME`.
        """
        each = {
            f"robust_accuracy {name}": self.robust_accuracy([name])
            for name in self.results
        }
        every = {"robust_accuracy": self.robust_accuracy()}
        return {"accuracy": self.accuracy()} | every | each


def _check_radius(name: str, radius: float | None, eps: float | None) -> None:
    if radius is not None and eps is not None and eps > radius * (1.0 + 1e-6):
        raise ValueError(
            f"`eps` must be at most the radius of every attack, {radius:g} of {name}, "
            f"which looked no farther. Received: eps={eps:g}"
        )


def _rows(values: Any, rows: Any) -> Any:
    """Some rows of an array, if there is one."""
    return None if values is None else values[np.asarray(rows)]
