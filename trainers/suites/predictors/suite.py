"""Suite predictors: what goes with the distance to an adversarial example."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfrobust.cli.flags import Settings, number
from trainers.suites.suite import Suite, register

if TYPE_CHECKING:
    from tfrobust import data
    from tfrobust.cli.loading import Loaded
    from tfrobust.cli.page import Section
    from tfrobust.cli.records import Record, Records


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictorSettings(
    Settings,
    title="Suite predictors: what goes with the distance to an adversarial example",
):
    """The settings of the suite alone."""

    predictors_radius: float = number(
        0.5,
        "L2 radius: how many images are right and farther from an adversarial example.",
        above=0.0,
    )


@register
class Predictors(Suite):
    """Which quantity of the four papers predicts how far an adversarial example is."""

    name = "predictors"
    settings = PredictorSettings

    def prepare(self) -> None:
        from trainers.suites.predictors import measure

        self._attacks = measure.make_attacks(self.run)

    def begin(self, train: data.Dataset, test: data.Dataset) -> None:
        from trainers.suites.predictors import measure

        self._measurer = measure.Measurer(
            self.run, self.own, self._attacks, train, test
        )

    def measure(self, model: Loaded) -> Sequence[Record]:
        return self._measurer.measure(model)

    def facts(self) -> dict[str, str]:
        return self._measurer.facts()

    def page(self, records: Records) -> Sequence[Section]:
        from trainers.suites.predictors import page

        return page.sections(records, self._measurer)
