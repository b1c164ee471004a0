"""Suite pag: its settings, and its measurements of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfrobust.cli.flags import Need, Settings, boolean, integer, radii, string
from tfrobust.cli.program import UsageError
from tfrobust.core.fractions import Eps
from trainers.suites.options import check_among
from trainers.suites.suite import Suite, register

if TYPE_CHECKING:
    from tfrobust import data
    from tfrobust.cli.loading import Loaded
    from tfrobust.cli.page import Section
    from tfrobust.cli.records import Record, Records

_MASKS = Need("--masking", lambda v: v["masking"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class PagSettings(
    Settings,
    title="Suite pag: tables 1, 2 and 4 and figures 1, 4 and 5 of the paper on aligned "
    "gradients",
):
    """The settings of the suite alone."""

    judge: str = string(
        "",
        "Classifier that says which class it sees in images that the models moved; "
        "none of them, given as they are. Empty: nobody is asked.",
    )
    pag_samples: int = integer(
        50,
        "Training images of each class among which the nearest is looked for.",
        at_least=2,
    )
    pag_moved: int = integer(
        100, "Move so many of the attacked images towards every class.", at_least=2
    )
    pag_moved_eps: tuple[Eps, ...] = radii(
        "3,10",
        "L2 radii within which they are moved, with commas between. The largest is "
        "shown.",
    )
    pag_moved_steps: int = integer(50, "Steps on the way.", at_least=1)
    pag_shown: int = integer(4, "Show so many of them.", at_least=1)
    masking: bool = boolean(
        False, "Look for signs that gradients are masked rather than robust."
    )
    masking_examples: int = integer(
        100, "Look on so many of the attacked images.", at_least=2, needs=_MASKS
    )
    masking_restarts: int = integer(
        10, "Random starts of PGD on margins.", at_least=1, needs=_MASKS
    )
    masking_queries: int = integer(
        1000,
        "Questions that the attack without gradients may ask.",
        at_least=1,
        needs=_MASKS,
    )


@register
class Pag(Suite):
    """Tables 1, 2 and 4, figures 1, 4 and 5 of the paper on aligned gradients."""

    name = "pag"
    settings = PagSettings

    def check(self) -> None:
        if self.own.pag_moved_eps[0].value <= 0:
            raise UsageError(
                "--pag_moved_eps must be above 0, or nothing moves. Received: "
                + ",".join(map(str, self.own.pag_moved_eps))
            )
        check_among(self.run, "pag_moved", self.own.pag_moved)
        if self.own.masking:
            check_among(self.run, "masking_examples", self.own.masking_examples)

    def prepare(self) -> None:
        from trainers.suites.pag import measure

        self._attacks = measure.make_attacks(self.run, self.own)
        self._judge = measure.load_judge(self.run, self.own)

    def begin(self, train: data.Dataset, test: data.Dataset) -> None:
        from trainers.suites.pag import measure

        self._measurer = measure.Measurer(
            self.run, self.own, self._attacks, self._judge, train, test
        )

    def measure(self, model: Loaded) -> Sequence[Record]:
        return self._measurer.measure(model)

    def facts(self) -> dict[str, str]:
        return self._measurer.facts()

    def page(self, records: Records) -> Sequence[Section]:
        from trainers.suites.pag import page

        return page.sections(records, self._measurer)
