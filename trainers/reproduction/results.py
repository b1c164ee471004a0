"""What was measured of every network, and the numbers that tables and rules ask for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from tfrobust.cli.records import Record, Records


class Value(NamedTuple):
    """A number of ours, over the seeds that there are.

    Attributes:
        mean: Mean over seeds.
        error: Its standard error; NaN where there is none.
        images: How many images each seed was measured on; 0 where none were.
        seeds: How many trainings it is of.
    """

    mean: float
    error: float
    images: int
    seeds: int


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """One training, and what was measured of it.

    Args:
        flags: Those of its `run.flags`, by name.
        summary: Its `summary.json`.
        records: All of its evaluations'.
    """

    flags: Mapping[str, str]
    summary: Mapping[str, Any]
    records: Records


class Results:
    """Every network by the name of its training, one for each seed.

    Args:
        networks: The networks that are there; a name without any may be left out.
    """

    def __init__(self, networks: Mapping[str, Sequence[Network]]) -> None:
        self._networks = {name: tuple(each) for name, each in networks.items()}

    def of(self, name: str) -> tuple[Network, ...]:
        """The networks of a training; empty where there are none."""
        return self._networks.get(name, ())


class Source(Protocol):
    """Where a number of ours comes from."""

    @property
    def words(self) -> str:
        """What it is, as it stands in a rule."""

    def value(self, results: Results) -> Value | None:
        """The number; `None` where it was not measured."""


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """A record of an evaluation.

    Args:
        network: Name of the training.
        quantity: That of the record.
        setting: What the record's settings must be; it may have others.
        factor: What the number is multiplied by: 100 makes percent of a share.
        suite: Whose record it is, where two suites measured it on other images.
        name: What the number is called in rules.
    """

    network: str
    quantity: str
    setting: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    factor: float = 1.0
    suite: str = ""
    name: str = ""

    @property
    def words(self) -> str:
        return f"{self.name or self.quantity.replace('_', ' ')} of {self.network}"

    def value(self, results: Results) -> Value | None:
        found = [self._record(network.records) for network in results.of(self.network)]
        records = [record for record in found if record is not None]
        return over_seeds(
            (self.factor * record.estimate.value for record in records),
            (self.factor * record.estimate.standard_error for record in records),
            min((record.images for record in records), default=0),
        )

    def _record(self, records: Records) -> Record | None:
        fitting = [
            record
            for record in records.where(self.quantity, **self.setting)
            if record.setting.get("suite") in (None, self.suite)
        ]
        own = [record for record in fitting if record.setting.get("suite")]
        fitting = own or fitting
        # Two evaluations of one network may have measured the same.
        if len({record.estimate.value for record in fitting}) > 1:
            raise ValueError(
                f"`setting` must name one record. Received: {self.quantity} with "
                f"{dict(self.setting)}, which {len(fitting)} records of "
                f"{self.network} have"
            )
        return fitting[0] if fitting else None


@dataclasses.dataclass(frozen=True, eq=False)
class Ratio:
    """One number over another.

    The error takes both for independent: relative errors are added in quadrature.

    Args:
        top: The numerator.
        bottom: The denominator.
    """

    top: Source
    bottom: Source

    @property
    def words(self) -> str:
        return f"({self.top.words}) / ({self.bottom.words})"

    def value(self, results: Results) -> Value | None:
        top, bottom = self.top.value(results), self.bottom.value(results)
        if top is None or bottom is None or not top.mean or not bottom.mean:
            return None
        mean = top.mean / bottom.mean
        known = [v for v in (top, bottom) if not math.isnan(v.error)]
        # A number over itself has no error; nor has one of numbers without any.
        if self.top.words == self.bottom.words or not known:
            relative = math.nan
        else:
            relative = math.hypot(*(v.error / v.mean for v in known))
        images, seeds = (min(pair) for pair in zip(top[2:], bottom[2:], strict=True))
        return Value(mean, abs(mean) * relative, images, seeds)


@dataclasses.dataclass(frozen=True, eq=False)
class Summary:
    """A number of a training's `summary.json`.

    Args:
        network: Name of the training.
        key: Its key there.
        name: What the number is called in rules.
    """

    network: str
    key: str
    name: str

    @property
    def words(self) -> str:
        return f"{self.name} of {self.network}"

    def value(self, results: Results) -> Value | None:
        found = [network.summary.get(self.key) for network in results.of(self.network)]
        numbers = [float(number) for number in found if number is not None]
        return over_seeds(numbers, [math.nan] * len(numbers), 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Flag:
    """A number that a network was trained with.

    Args:
        network: Name of the training.
        flag: Name of the flag.
    """

    network: str
    flag: str

    @property
    def words(self) -> str:
        return f"--{self.flag} of {self.network}"

    def value(self, results: Results) -> Value | None:
        given = [
            float(network.flags[self.flag])
            for network in results.of(self.network)
            if self.flag in network.flags
        ]
        return Value(given[0], math.nan, 0, len(given)) if given else None


def over_seeds(
    means: Iterable[float], errors: Iterable[float], images: int
) -> Value | None:
    """The mean over seeds and its error; `None` without any number.

    Seeds are measured on the same images, so the mean over seeds is as unsure over
    images as one of them; of that error and the one over seeds the larger counts.

    Args:
        means: The number of each seed; NaN where it could not be estimated.
        errors: Its standard error over images, NaN where it has none.
        images: How many images each was measured on.

    Example:
        >>> over_seeds([1.0, 3.0], [0.1, 0.1], 50)
        Value(mean=2.0, error=1.0, images=50, seeds=2)
        >>> over_seeds([1.0, 1.0], [0.1, 0.3], 50).error
        0.2
    """
    pairs = [
        (mean, error)
        for mean, error in zip(means, errors, strict=True)
        if not math.isnan(mean)
    ]
    if not pairs:
        return None
    values = np.array([mean for mean, _ in pairs], np.float64)
    known = [error for _, error in pairs if not math.isnan(error)]
    found = [float(np.mean(known))] if known else []
    if len(pairs) > 1:
        found.append(float(np.std(values, ddof=1) / math.sqrt(len(pairs))))
    error = max(found, default=math.nan)
    return Value(float(np.mean(values)), error, images, len(pairs))
