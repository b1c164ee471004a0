"""The settings of a reproduction; each field is a flag. Nothing large is imported."""

from __future__ import annotations

import dataclasses
import pathlib

from tfrobust.cli.flags import Settings, boolean, choice, string
from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import check_writable

PAPERS = ("lcnn", "pag", "dissect", "smooth")
"""The papers, in the order in which `all` does them."""

BUDGETS = ("cpu_hour", "cpu_night", "gpu")
"""The budgets, the cheapest first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReproduceConfig(Settings, title="Run"):
    """Everything a reproduction depends on."""

    paper: str = choice(
        "all", (*PAPERS, "all"), "Which paper; all: each, and a page of all together."
    )
    budget: str = choice(
        "cpu_hour",
        BUDGETS,
        "cpu_hour: width 16, few epochs, part of the images, one seed. cpu_night: "
        "width 16, all images, 20 epochs, two seeds of the main settings. gpu: the "
        "papers' settings. --dry_run says how long each takes here.",
    )
    out: str = string(
        "", "Folder for everything. Empty: runs/reproduction-PAPER-BUDGET."
    )
    cifar10: str = string(
        "cifar10",
        "The name under which CIFAR-10 is there: cifar10, cifar10_jpeg, or any other "
        "data set of its shape, in place of the flagfiles' own.",
    )
    data_dir: str = string(
        "",
        "Folder that holds prepared TFDS folders. Empty: TFDS's own place; downloads.",
    )
    overwrite: bool = boolean(
        False,
        "Do again what is there with other settings; what is there with the same "
        "settings stays.",
    )
    dry_run: bool = boolean(
        False, "Measure the steps, print the plan, and do and write nothing."
    )

    def check(self) -> None:
        """Raises `UsageError` over a folder that cannot be."""
        check_writable("out", self.folder)
        if not self.cifar10.strip():
            raise UsageError(
                "--cifar10 must be the name of a data set, such as cifar10_jpeg. "
                "Received: an empty one"
            )
        if self.data_dir and not self.data.is_dir():
            raise UsageError(
                f"--data_dir must be a folder. Received: {self.data_dir}, which is none"
            )

    @property
    def folder(self) -> pathlib.Path:
        """Where everything goes, absolute: children run in it."""
        name = self.out or f"runs/reproduction-{self.paper}-{self.budget}"
        return pathlib.Path(name).expanduser().absolute()

    @property
    def data(self) -> pathlib.Path:
        """`data_dir`, absolute."""
        return pathlib.Path(self.data_dir).expanduser().absolute()
