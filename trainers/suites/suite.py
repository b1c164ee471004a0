"""What a suite is, and the registry that `--suite` looks into.

A suite has a name, flags of its own, `measure`, which makes records of a model, and
`page`, which makes sections of records. Those of the papers live in rooms of this
folder, found by themselves; one of your own registers itself when `--import` loads it.
"""

from __future__ import annotations

import abc
import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tfrobust.cli import flags
from tfrobust.cli.flags import Settings
from tfrobust.cli.program import UsageError
from tfrobust.core.registry import Registry
from trainers.suites.options import EvaluateConfig
from trainers.suites.partial import Partial

if TYPE_CHECKING:
    from tfrobust import data
    from tfrobust.cli.loading import Loaded
    from tfrobust.cli.page import Section
    from tfrobust.cli.records import Record, Records


class Suite(abc.ABC):
    """What stands behind a value of `--suite`.

    Importing the module of a suite must not import TensorFlow: its flags are defined
    before, and most mistakes are refused before that.

    Attributes:
        name: The value of `--suite`.
        settings: Its own flags.
        images: The fields, of `run` or of `own`, that say how many images of a split
            are needed, by split.
        trained: Whether it looks at training images. If no suite of an evaluation does,
            they are not loaded, and a data set need not have any.

    Args:
        run: The settings of every suite.
        own: Its own settings.

    Attributes:
        partial: Where to keep what need not be measured again, if an evaluation is
            killed; `None` outside of one.
    """

    name: ClassVar[str]
    settings: ClassVar[type[Settings]] = Settings
    images: ClassVar[Mapping[str, Sequence[str]]] = {
        "test": ("clean_examples", "examples")
    }
    trained: ClassVar[bool] = True

    def __init__(self, run: EvaluateConfig, own: Any) -> None:
        self.run, self.own = run, own
        self.partial: Partial | None = None

    def check(self) -> None:  # noqa: B027
        """Raises `UsageError` where flags do not fit each other; no TensorFlow yet."""

    def prepare(self) -> None:  # noqa: B027
        """Makes attacks and the like; raises `UsageError` if that cannot be."""

    def check_model(self, model: Loaded) -> None:  # noqa: B027
        """Raises `UsageError` if a model cannot be measured, before any is."""

    @abc.abstractmethod
    def begin(self, train: Any, test: data.Dataset) -> None:
        """Takes the data.

        Args:
            train: All training images, a `data.Dataset`; `None` if no suite has
                `trained`.
            test: All test images.
        """

    @abc.abstractmethod
    def measure(self, model: Loaded) -> Sequence[Record]:
        """Measures one model; its name is its own."""

    def finish(self) -> Sequence[Record]:
        """What can be measured only once every model has been."""
        return []

    def facts(self) -> dict[str, str]:
        """The settings in words, by name."""
        return {}

    @abc.abstractmethod
    def page(self, records: Records) -> Sequence[Section]:
        """Tables and figures of the suite's own records."""

    def conclude(self, records: Records) -> None:  # noqa: B027
        """Called once all is written; raises `CheckFailed` if results fail a check."""


# Fields that say where results go and what computes them, not what they are; the size
# of images stands in the name of the data set by then.
_OUTSIDE_EVALUATION = ("out", "overwrite", "image_size", "distribute", "logical_cpus")

_AnySuite = TypeVar("_AnySuite", bound=type[Suite])

_SUITES: Registry[type[Suite]] = Registry("suite")


def register(suite: _AnySuite) -> _AnySuite:
    """Class decorator: lets `--suite` know a suite by its `name`.

    Raises:
        ValueError: If the name is malformed, or another suite has it.
    """
    _SUITES.add(suite.name, suite)
    return suite


@functools.cache
def _import_rooms() -> None:
    """Imports `suite.py` of every folder beside this file."""
    package = importlib.import_module("trainers.suites")
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            importlib.import_module(f"trainers.suites.{module.name}.suite")


def all_suites() -> dict[str, type[Suite]]:
    """Every suite by name."""
    _import_rooms()
    return {name: _SUITES[name] for name in _SUITES}


def chosen(run: EvaluateConfig) -> list[Suite]:
    """The suites of `--suite` with their settings, checked.

    Raises:
        UsageError: If a name is no suite's, flags do not fit each other, or a flag was
            given that only another suite has.
    """
    suites = all_suites()
    unknown = [name for name in run.suites if name not in suites]
    if unknown or not run.suites:
        raise UsageError(
            f"--suite must be some of {', '.join(suites)}, with commas between. "
            f"Received: {run.suite!r}"
        )
    _refuse_flags_of_others(run.suites)
    made = [suites[name](run, flags.read(suites[name].settings)) for name in run.suites]
    for suite in made:
        suite.check()
    return made


def _refuse_flags_of_others(names: Sequence[str]) -> None:
    """Raises `UsageError` if a flag was given that no chosen suite has."""
    owners: dict[str, list[str]] = {}
    for name, suite in all_suites().items():
        for flag in flags.names(suite.settings):
            owners.setdefault(flag, []).append(name)
    for flag, having in owners.items():
        if {*having}.isdisjoint(names) and flags.was_changed(flag):
            raise UsageError(f"--{flag} needs --suite={' or '.join(having)}.")


def flag_lines(run: EvaluateConfig, suites: Iterable[Suite]) -> list[str]:
    """The lines of the flagfile that repeats an evaluation, anywhere.

    Its folder is left out, and the devices that shared the work: the results do not
    depend on them.
    """
    lines = flags.flag_lines(run, without=_OUTSIDE_EVALUATION)
    for suite in suites:
        lines += flags.flag_lines(suite.own)
    return list(dict.fromkeys(lines))
