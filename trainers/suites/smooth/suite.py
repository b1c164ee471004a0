"""Suite smooth: its settings, and its measurements of a model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfrobust.cli import flags
from tfrobust.cli.flags import Settings, choice, integer, number, string
from tfrobust.cli.program import UsageError
from tfrobust.core.fractions import Eps
from trainers.suites.suite import Suite, register

if TYPE_CHECKING:
    from tfrobust import data
    from tfrobust.cli.loading import Loaded
    from tfrobust.cli.page import Section
    from tfrobust.cli.records import Record, Records


@dataclasses.dataclass(frozen=True)
class Budget:
    """What an attack that searches may spend: so many searches of so many steps."""

    searches: int
    steps: int

    @classmethod
    def parse(cls, text: str) -> Budget:
        """The budget that a text such as `3x100` stands for; `UsageError` over others.

        Example:
            >>> str(Budget.parse("3x100"))
            '3x100'
        """
        match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text, re.ASCII)
        if not match:
            raise UsageError(
                "--budgets must be searches x steps, such as 3x100, with commas "
                f"between. Received: {text!r}"
            )
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.searches}x{self.steps}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmoothSettings(
    Settings,
    title="Suite smooth: tables 1 to 3 and figures 1 to 5 of Smooth Adversarial "
    "Examples",
):
    """The settings of the suite alone."""

    radii: int = integer(
        20,
        "Radii at which an attack within a radius is run, evenly spaced up to its own "
        "eps.",
        at_least=1,
    )
    linf_radii: tuple[Eps, ...] = flags.radii(
        "",
        "Radii of attacks within an L-infinity ball in place of those, whatever their "
        "eps: one or several with commas between.",
    )
    l2_radii: tuple[Eps, ...] = flags.radii(
        "", "The same of attacks within an L2 ball, such as 1,2,3,4,5,6."
    )
    budgets: str = string(
        "1x100,3x100,9x100",
        "Run attacks that search (C&W in both spaces, sC&W) at these budgets too, "
        "searches x steps, with commas between. Empty: at none.",
    )
    smooth_bandwidth: float = number(
        1.0,
        "Roughness is measured on a graph of the image's pixels: bandwidth of its "
        "kernel on pixel values. A smooth attack has such settings of its own.",
        above=0.0,
    )
    smooth_kernel: str = choice(
        "laplacian",
        ["laplacian", "gaussian"],
        "Kernel of that graph; that of an attack is a setting of the attack.",
    )
    smooth_neighbors: str = choice(
        "4",
        ["4", "8"],
        "Neighbours of a pixel in that graph; those of an attack are a setting of the "
        "attack.",
    )
    filter_std: float = number(
        0.5,
        "Spatial standard deviation, in pixels, of the bilateral filter that "
        "perturbations are transferred through.",
        above=0.0,
    )
    filter_range: float = number(
        0.2, "Its standard deviation of pixel values.", above=0.0
    )

    @property
    def parsed_budgets(self) -> tuple[Budget, ...]:
        """The budgets, in their order, each once; `UsageError` if one is none."""
        texts = self.budgets.split(",") if self.budgets.strip() else []
        return tuple(dict.fromkeys(Budget.parse(text.strip()) for text in texts))

    def given_radii(self, norm: str) -> tuple[float, ...]:
        """The radii given for attacks of a norm, rising; empty if none were.

        Args:
            norm: "Linf", "L2" or "L1".

        Example:
            >>> SmoothSettings(l2_radii=(Eps.parse("1"),)).given_radii("L2")
            (1.0,)
        """
        given = {"Linf": self.linf_radii, "L2": self.l2_radii}.get(norm)
        return tuple(eps.value for eps in given or ())

    @property
    def graph(self) -> dict[str, Any]:
        """The arguments of `smoothing.grid_graph`."""
        return {
            "bandwidth": self.smooth_bandwidth,
            "kernel": self.smooth_kernel,
            "neighbors": int(self.smooth_neighbors),
        }

    def check(self) -> None:
        """Raises `UsageError` over budgets."""
        _ = self.parsed_budgets


@register
class Smooth(Suite):
    """Tables 1 to 3 and figures 1 to 5 of the smooth adversarial examples paper."""

    name = "smooth"
    settings = SmoothSettings
    trained = False

    def check(self) -> None:
        count = self.run.clean_examples
        if 0 < count < self.run.examples:
            raise UsageError(
                f"--clean_examples={count} must be at least --examples="
                f"{self.run.examples}: smooth attacks correct ones among them."
            )

    def prepare(self) -> None:
        from trainers.suites.smooth import trials

        self._trials = trials.make(self.run, self.own)

    def begin(self, train: Any, test: data.Dataset) -> None:
        from trainers.suites.smooth import measure

        self._measurer = measure.Measurer(self.run, self.own, self._trials, test)

    def measure(self, model: Loaded) -> Sequence[Record]:
        return list(self._measurer.measure(model))

    def finish(self) -> Sequence[Record]:
        return list(self._measurer.transfers())

    def facts(self) -> dict[str, str]:
        return self._measurer.facts()

    def page(self, records: Records) -> Sequence[Section]:
        from trainers.suites.smooth import page

        return page.sections(records, self.run, self.own, self._measurer.attacked)
