"""What a paper is made of here: trainings, evaluations, tables, findings.

Settings live in flagfiles, which are named and not repeated. Whatever a budget or a
paper lays over them stands in `budget` and in the paper's own file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trainers.reproduction.findings import Finding
from trainers.reproduction.results import Results
from trainers.reproduction.tables import PaperTable

if TYPE_CHECKING:
    from tfrobust.cli.page import Section


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """A network that is trained.

    Args:
        name: Its name in tables and of its folder.
        title: The paper's name of it.
        setting: Where the paper has its settings, as a label.
        flagfile: The flagfile without the data set behind it: `lcnn` of `lcnn_cifar10`.
            Empty: the name.
        flags: What is laid over the flagfile at any budget.
        scaled: What a budget that scales down lays over its own flags besides.
        seeds: How many times the paper trains it.
        main: Whether it is one of those that get more than one seed first.
        teacher: The training whose network `--teacher` is, if there is one.
        group: The evaluation that it shares with others of the same group; empty: one
            of its own.
        measured: Whether it is evaluated; a teacher may be not.
        robust: Whether images withstand attacks, so that these take long.
        only_full: Whether it is trained only at the papers' own scale.
    """

    name: str
    title: str
    setting: str
    flagfile: str = ""
    flags: tuple[str, ...] = ()
    scaled: tuple[str, ...] = ()
    seeds: int = 1
    main: bool = False
    teacher: str = ""
    group: str = ""
    measured: bool = True
    robust: bool = False
    only_full: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A kind of evaluation, of each network or of those of a group together.

    Args:
        name: What its folder is called behind the name of the network or group; empty:
            no more than that.
        flags: Of `trainers.evaluate`, with the flagfile.
        suites: Names of the suites.
        grouped: Whether networks of a group are evaluated together.
        most: At most so many images are attacked, whatever the budget.
        scaled: What a budget that scales down lays over it.
    """

    name: str = ""
    flags: tuple[str, ...]
    suites: tuple[str, ...]
    grouped: bool = False
    most: int = 10_000
    scaled: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paper:
    """One paper.

    Args:
        name: The value of `--paper`.
        title: Authors, year and title.
        data: The data set in the names of its flagfiles.
        full_data: The same at the papers' own scale, where it differs.
        is_scaled: Whether budgets scale its trainings; MNIST's take minutes.
        trainings: What is trained, teachers first.
        evaluations: What is measured.
        tables: Its tables.
        findings: What it says.
        figures: Makes the sections with figures that are drawn from records.
        not_tested: What of the paper no budget tests, one sentence or name each.
        notes: What tells our trainings and measurements from the paper's.
    """

    name: str
    title: str
    data: str
    full_data: str = ""
    is_scaled: bool = True
    trainings: Sequence[Training]
    evaluations: Sequence[Evaluation]
    tables: Sequence[PaperTable]
    findings: Sequence[Finding]
    figures: Callable[[Results], list[Section]] = lambda results: []
    not_tested: Sequence[str] = ()
    notes: Sequence[str] = ()

    def training(self, name: str) -> Training:
        """The training of a name.

        Raises:
            KeyError: If there is none.
        """
        return {each.name: each for each in self.trainings}[name]
