"""Suite dissect: its settings, and its measurements of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfrobust.cli.flags import Need, integer, number, several, string
from trainers.suites.options import GeometrySettings, check_among
from trainers.suites.suite import Suite, register

if TYPE_CHECKING:
    from tfrobust import data
    from tfrobust.cli.loading import Loaded
    from tfrobust.cli.page import Section
    from tfrobust.cli.records import Record, Records


@dataclasses.dataclass(frozen=True, kw_only=True)
class DissectSettings(
    GeometrySettings,
    title="Suite dissect: tables 1 to 5 and figures 1 to 3 and 5 to 9 of the paper on "
    "local properties of adversarial examples",
):
    """The settings of the suite alone."""

    dissect_scales: int = integer(
        15, "Thresholds of frequency, evenly spaced from 0 to sqrt(2).", at_least=2
    )
    dissect_high: float = number(
        0.5, "Threshold above which frequencies count as high.", at_most=2**0.5
    )
    dissect_layers: str = string(
        "",
        "Layers to look at, with commas between. Empty: Conv 1 and Layer 0 to 4, or "
        "their like.",
    )
    dissect_shown: int = integer(
        3, "Show the perturbations of so many images of each model.", at_least=1
    )
    checkpoints: tuple[str, ...] = several(
        "Run that was trained with --keep_epochs, or folder of its epoch-NNN.keras: "
        "figures 5 and 9. Once for each run."
    )
    checkpoint_examples: int = integer(
        100,
        "Attack so many of the images after each epoch.",
        at_least=2,
        needs=Need("--checkpoints", lambda v: v["checkpoints"]),
    )

    @property
    def layers(self) -> tuple[str, ...] | None:
        """The layers to look at; `None` for each network's own choice."""
        names = tuple(name.strip() for name in self.dissect_layers.split(","))
        return names if self.dissect_layers.strip() else None


@register
class Dissect(Suite):
    """Tables 1 to 5, figures 1 to 3 and 5 to 9 of the paper that dissects examples."""

    name = "dissect"
    settings = DissectSettings

    def check(self) -> None:
        check_among(self.run, "geometry_examples", self.own.geometry_examples)
        if self.own.checkpoints:
            check_among(self.run, "checkpoint_examples", self.own.checkpoint_examples)

    def prepare(self) -> None:
        from trainers.suites import attacks
        from trainers.suites.dissect import checkpoints, measure

        # None stops at a success, after which it would hardly be beyond the boundary.
        self._attacks = attacks.make(
            self.run, measure.DEFAULT_ATTACKS, early_stop=False
        )
        self._runs = checkpoints.find_runs(self.run, self.own)

    def check_model(self, model: Loaded) -> None:
        from trainers.suites.dissect import checkpoints

        checkpoints.check_layers(self.own, model)

    def begin(self, train: data.Dataset, test: data.Dataset) -> None:
        from trainers.suites.dissect import measure

        self._measurer = measure.Measurer(
            self.run, self.own, self._attacks, self._runs, test
        )

    def measure(self, model: Loaded) -> Sequence[Record]:
        return self._measurer.measure(model)

    def finish(self) -> Sequence[Record]:
        return self._measurer.finish()

    def facts(self) -> dict[str, str]:
        return self._measurer.facts()

    def page(self, records: Records) -> Sequence[Section]:
        from trainers.suites.dissect import page

        return page.sections(records, self._measurer)
