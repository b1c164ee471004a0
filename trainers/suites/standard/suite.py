"""Suite standard: its settings, and its measurements of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfrobust.cli import dataset_names
from tfrobust.cli.flags import boolean, choice, integer, string
from tfrobust.cli.program import CheckFailed, UsageError
from tfrobust.core.fractions import Eps
from trainers.suites.options import GeometrySettings
from trainers.suites.suite import Suite, register

if TYPE_CHECKING:
    from tfrobust import data
    from tfrobust.cli.loading import Loaded
    from tfrobust.cli.page import Section
    from tfrobust.cli.records import Record, Records

# RobustBench's radii on CIFAR-10, L1 as Croce and Hein 2021 (Mind the Box); MNIST as
# Maini et al. 2020 (Adversarial Robustness Against the Union of Multiple Models).
_RADII = {"inf": "8/255", "2": "0.5", "1": "12"}
_RADII_OF_DIGITS = {"inf": "0.3", "2": "2", "1": "10"}

TRUSTWORTHY = "Trustworthy"
"""The verdict on numbers that nothing speaks against."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StandardSettings(
    GeometrySettings,
    title="Suite standard: AutoAttack, and whether its answer can be trusted",
):
    """The settings of the suite alone."""

    norm: str = choice("inf", ("inf", "2", "1"), "Norm of the ball that is attacked.")
    radius: str = string(
        "",
        "Radius of the ball in units of [0, 1], a fraction as 8/255 too. Empty: 8/255 "
        "in Linf, 0.5 in L2, 12 in L1; on mnist 0.3, 2 and 10.",
    )
    version: str = choice(
        "standard",
        ("standard", "plus", "rand", "fast"),
        "Version of AutoAttack: rand is for models that answer at random, fast leaves "
        "out what breaks few images more.",
    )
    judge_examples: int = integer(
        100,
        "Look on so many of the attacked images, or on all if they are fewer, for what "
        "speaks against the result.",
        at_least=2,
    )
    strict: bool = boolean(
        False, "Exit with code 3 unless every model's numbers are trustworthy."
    )

    def check(self) -> None:
        """Raises `UsageError` over a radius that is none."""
        if not self.radius:
            return
        try:
            radius = Eps.parse(self.radius).value
        except ValueError:
            radius = 0.0
        if radius <= 0:
            raise UsageError(
                "--radius must be a number above 0, such as 0.1 or 8/255. "
                f"Received: {self.radius}"
            )

    def ball(self, dataset: str) -> Eps:
        """The radius, that of the data set if none was given.

        Args:
            dataset: Its name.
        """
        digits = dataset_names.short_name(dataset) == "mnist"
        usual = _RADII_OF_DIGITS if digits else _RADII
        return Eps.parse(self.radius or usual[self.norm])


@register
class Standard(Suite):
    """AutoAttack, and whether its answer can be trusted."""

    name = "standard"
    settings = StandardSettings
    images = {"test": ("clean_examples", "examples", "geometry_examples")}
    trained = False

    def prepare(self) -> None:
        from trainers.suites.standard import measure

        self._attacks = measure.make_attacks(self.run, self.own)

    def begin(self, train: Any, test: data.Dataset) -> None:
        from trainers.suites.standard import measure

        assert self.partial is not None  # noqa: S101
        self._measurer = measure.Measurer(
            self.run, self.own, self._attacks, test, self.partial
        )

    def measure(self, model: Loaded) -> Sequence[Record]:
        return self._measurer.measure(model)

    def facts(self) -> dict[str, str]:
        return self._measurer.facts()

    def page(self, records: Records) -> Sequence[Section]:
        from trainers.suites.standard import page

        return page.sections(records, self._measurer)

    def conclude(self, records: Records) -> None:
        verdicts = {
            record.model: record.about["verdict"]
            for record in records.where("trustworthy")
        }
        failed = [f"{k} is {v}" for k, v in verdicts.items() if v != TRUSTWORTHY]
        if self.own.strict and failed:
            raise CheckFailed(f"--strict: {', '.join(failed)}.")
