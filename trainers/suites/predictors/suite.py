"""Suite predictors: what goes with the distance to an adversarial example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainers.suites.suite import Suite, register

if TYPE_CHECKING:
    from tfrobust import data
    from tfrobust.cli.loading import Loaded
    from tfrobust.cli.page import Section
    from tfrobust.cli.records import Record, Records


@register
class Predictors(Suite):
    """Which quantity of the four papers predicts how far an adversarial example is."""

    name = "predictors"

    def prepare(self) -> None:
        from trainers.suites.predictors import measure

        self._attacks = measure.make_attacks(self.run)

    def begin(self, train: data.Dataset, test: data.Dataset) -> None:
        from trainers.suites.predictors import measure

        self._measurer = measure.Measurer(self.run, self._attacks, train, test)

    def measure(self, model: Loaded) -> Sequence[Record]:
        return self._measurer.measure(model)

    def facts(self) -> dict[str, str]:
        return self._measurer.facts()

    def page(self, records: Records) -> Sequence[Section]:
        from trainers.suites.predictors import page

        return page.sections(records, self._measurer)
