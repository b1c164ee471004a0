"""Suite lcnn: its settings, and its measurements of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfrobust.cli.flags import radii
from tfrobust.core.fractions import Eps
from trainers.suites.options import GeometrySettings
from trainers.suites.suite import Suite, register

if TYPE_CHECKING:
    from tfrobust import data
    from tfrobust.cli.loading import Loaded
    from tfrobust.cli.page import Section
    from tfrobust.cli.records import Record, Records


@dataclasses.dataclass(frozen=True, kw_only=True)
class LcnnSettings(
    GeometrySettings,
    title="Suite lcnn: tables 1 to 3, figure 2 and equation 1 of the LCNN paper",
):
    """The settings of the suite alone."""

    eps: tuple[Eps, ...] = radii(
        "0.05,0.1,0.15,0.2",
        "Radii of the attack in units of [0, 1], with commas between; fractions as "
        "8/255 too.",
    )


@register
class Lcnn(Suite):
    """Tables 1 to 3, figure 2 and equation 1 of the LCNN paper."""

    name = "lcnn"
    settings = LcnnSettings
    images = {
        "test": ("clean_examples", "examples", "geometry_examples"),
        "train": ("geometry_examples",),
    }

    def prepare(self) -> None:
        from trainers.suites.lcnn import measure

        self._attacks = measure.make_attacks(self.run, self.own)

    def begin(self, train: data.Dataset, test: data.Dataset) -> None:
        from trainers.suites.lcnn import measure

        self._measurer = measure.Measurer(
            self.run, self.own, self._attacks, train, test
        )

    def measure(self, model: Loaded) -> Sequence[Record]:
        return self._measurer.measure(model)

    def facts(self) -> dict[str, str]:
        return self._measurer.facts()

    def page(self, records: Records) -> Sequence[Section]:
        from trainers.suites.lcnn import page

        return page.sections(records, self.run, self.own, self._attacks)
