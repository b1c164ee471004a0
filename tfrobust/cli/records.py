"""One record for each number that an evaluation measures, and all that follows of it.

`evaluation.json`, the CSV files, tables, pages, model cards and comparisons are made
from a list of records and from nothing else. docs/EVALUATION.md describes the files.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfrobust.cli.json_values import finite_or_none
from tfrobust.cli.run_folder import EVALUATION
from tfrobust.cli.tables import Column, Form, Table, number
from tfrobust.core.estimates import Estimate, mean

FORMAT = "tfrobust-evaluation"
VERSION = 1

Value = str | float | int | bool | None
"""What a setting may be: what JSON has for it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """Which images were looked at.

    Args:
        split: "test" or "train".
        index: int64 `[N]`, the position of each in its split.
        labels: int `[N]`.
    """

    split: str
    index: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """One measured number.

    Args:
        model: Name of the model.
        quantity: What was measured, such as "robust_accuracy".
        setting: How, by name: JSON's own values.
        images: How many images the estimate was taken over.
        estimate: The number and its standard error.
        values: The value of each image, NaN where one does not count; `None` where
            there is no such thing.
        of: The images of `values`.
        about: What else to say of it that does not tell it from others.

    Example:
        >>> record = Record("a", "accuracy", {"split": "test"}, 4, Estimate(0.5, 0.29))
        >>> record.to_json()["mean"]
        0.5
    """

    model: str
    quantity: str
    setting: Mapping[str, Value]
    images: int
    estimate: Estimate
    values: np.ndarray | None = None
    of: Images | None = None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def matches(self, quantity: str | None, setting: Mapping[str, Value]) -> bool:
        """Whether it is of this quantity and agrees with these settings."""
        return quantity in (None, self.quantity) and all(
            self.setting.get(name) == value for name, value in setting.items()
        )

    @property
    def setting_text(self) -> str:
        """The settings as text, `name=value` of each."""
        return " ".join(f"{name}={_text(v)}" for name, v in self.setting.items())

    @property
    def label(self) -> str:
        """Quantity and settings as the title of a column."""
        return f"{self.quantity} {self.setting_text}".strip()

    def to_json(self) -> dict[str, Any]:
        """As it stands in `evaluation.json`; no NaN and no infinity."""
        return {
            "model": self.model,
            "quantity": self.quantity,
            "setting": dict(self.setting),
            "images": self.images,
            "mean": finite_or_none(self.estimate.value),
            "standard_error": finite_or_none(self.estimate.standard_error),
            **({"about": dict(self.about)} if self.about else {}),
        }


def measured(
    model: str,
    quantity: str,
    values: Any,
    of: Images | None = None,
    about: Mapping[str, Any] | None = None,
    **setting: Value,
) -> Record:
    """A record of a mean over images.

    Args:
        model: Name of the model.
        quantity: What was measured.
        values: The value of each image, NaN where one does not count.
        of: The images, if positions are to be kept with the values.
        about: As in `Record`.
        **setting: How it was measured.

    Example:
        >>> record = measured("a", "distortion", [0.5, np.nan, 1.5], attack="DDN")
        >>> record.images, record.estimate.value
        (2, 1.0)
    """
    values = np.asarray(values, np.float64)
    counted = values[~np.isnan(values)]
    estimate = mean(counted)
    return Record(
        model, quantity, setting, len(counted), estimate, values, of, about or {}
    )


class Records(Sequence[Record]):
    """A list of records that can be asked.

    Args:
        records: The records, in the order of their tables.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records = list(records)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: Any) -> Any:
        return self._records[place]

    def where(self, quantity: str | None = None, **setting: Value) -> Records:
        """Those of a quantity that agree with these settings."""
        return Records(record for record in self if record.matches(quantity, setting))

    def of(self, model: str) -> Records:
        """Those of one model."""
        return Records(record for record in self if record.model == model)

    @property
    def models(self) -> list[str]:
        """Names of the models, in order of appearance."""
        return list(dict.fromkeys(record.model for record in self))

    def values_of(self, name: str) -> list[Value]:
        """Every value that a setting has, in order of appearance."""
        return list(
            dict.fromkeys(
                record.setting[name] for record in self if name in record.setting
            )
        )

    def get(
        self, model: str, quantity: str | None = None, **setting: Value
    ) -> Record | None:
        """The only record of a model with these settings, if there is one.

        Raises:
            ValueError: If there are several.
        """
        fitting = self.of(model).where(quantity, **setting)
        if len(fitting) > 1:
            raise ValueError(
                f"`setting` must name one record. Received: {quantity} with {setting}, "
                f"which {len(fitting)} records of {model} have"
            )
        return fitting[0] if fitting else None

    def cell(self, model: str, quantity: str | None = None, **setting: Value) -> Any:
        """The estimate of that record as a cell of a table; empty without it."""
        record = self.get(model, quantity, **setting)
        return None if record is None else cell(record.estimate)


Row = tuple[str, str, Mapping[str, Value]]
"""Title of a row or a column, quantity and settings of its records."""


def table_by_model(
    records: Records, corner: str, rows: Sequence[Row], form: Form = number
) -> Table:
    """One row for each title, one column for each model.

    Args:
        records: What was measured.
        corner: Title of the first column.
        rows: What stands in each row.
        form: How cells read.
    """
    columns = [Column(corner, numeric=False)]
    columns += [Column(model, form) for model in records.models]
    body = [
        [title, *(records.cell(model, key, **how) for model in records.models)]
        for title, key, how in rows
    ]
    return Table(columns, body)


def table_by_quantity(
    records: Records, corner: str, columns: Sequence[Row], form: Form = number
) -> Table:
    """One row for each model, one column for each quantity and its settings.

    Args:
        records: What was measured.
        corner: Title of the first column.
        columns: What stands in each of the others.
        form: How cells read.
    """
    heads = [Column(corner, numeric=False)]
    heads += [Column(title, form) for title, _, _ in columns]
    body = [
        [model, *(records.cell(model, key, **how) for _, key, how in columns)]
        for model in records.models
    ]
    return Table(heads, body)


def cell(estimate: Estimate) -> Any:
    """An estimate as people read it: empty without a mean, bare without an error.

    Example:
        >>> cell(Estimate(2.0, 0.5)), cell(Estimate(2.0, math.nan))
        ((2.0, 0.5), 2.0)
    """
    value, error = float(estimate.value), float(estimate.standard_error)
    if math.isnan(value):
        return None
    return value if math.isnan(error) else (value, error)


def long_table(records: Iterable[Record]) -> Table:
    """One line for each record, as `evaluation.csv` has them."""
    titles = ("model", "quantity", "setting", "images", "mean", "standard error")
    rows = []
    for record in records:
        about = record.to_json()
        rows.append(
            [record.model, record.quantity, record.setting_text, record.images]
            + [about["mean"], about["standard_error"]]
        )
    return Table([Column(title) for title in titles], rows)


def per_example(records: Iterable[Record]) -> Table:
    """One line for each model and image, one column for each record with values.

    Empty where an image was not measured or does not count.
    """
    kept = [
        record
        for record in records
        if record.values is not None and record.of is not None
    ]
    titles = list(dict.fromkeys(record.label for record in kept))
    lines: dict[tuple[str, str, int, int], dict[str, float]] = {}
    for record in kept:
        for index, label, value in _each(record):
            key = (record.model, record.of.split, index, label)  # type: ignore[union-attr]
            line = lines.setdefault(key, {})
            if not math.isnan(value):
                line[record.label] = value
    heads = ["model", "split", "index", "label", *titles]
    rows = [
        [*key, *(_plain(line.get(title)) for title in titles)]
        for key, line in lines.items()
    ]
    return Table([Column(title) for title in heads], rows)


def _each(record: Record) -> Iterator[tuple[int, int, float]]:
    assert record.of is not None and record.values is not None  # noqa: S101
    yield from zip(
        record.of.index.tolist(),
        record.of.labels.tolist(),
        record.values.tolist(),
        strict=True,
    )


def _plain(value: float | None) -> float | int | None:
    """A whole number without its point."""
    return int(value) if value is not None and value.is_integer() else value


def _text(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluation.json` holds.

    Args:
        about: Everything beside the records: dataset, suites, seed, flags, versions,
            models, when and how long.
        records: What was measured.
    """

    about: dict[str, Any]
    records: Records

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            "format": FORMAT,
            "version": VERSION,
            **self.about,
            "records": [record.to_json() for record in self.records],
        }

    @classmethod
    def from_json(cls, content: Any) -> Evaluation:
        """The evaluation in the content of a file.

        Raises:
            ValueError: If it is none, or of a version that is not read here.
        """
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"it must have the format {FORMAT}")
        if content.get("version") != VERSION:
            raise ValueError(
                f"it must have version {VERSION} of {FORMAT}. "
                f"Received: version {content.get('version')}"
            )
        about = {
            key: value
            for key, value in content.items()
            if key not in ("format", "version", "records")
        }
        return cls(about, records_from(content["records"]))


def read_evaluation(path: str | os.PathLike[str]) -> Evaluation:
    """The evaluation in a file or in the folder around it.

    Raises:
        ValueError: If there is none.
    """
    file = pathlib.Path(path).expanduser()
    file = file / EVALUATION if file.is_dir() else file
    try:
        return Evaluation.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`path` must be a finished evaluation. Received: {path} ({error})"
        ) from error


def records_from(content: Iterable[Mapping[str, Any]]) -> Records:
    """The records in a part of a JSON file that holds them.

    Raises:
        KeyError: If one lacks a field.
    """
    return Records(map(_record, content))


def _record(content: Mapping[str, Any]) -> Record:
    value, error = (
        math.nan if content[key] is None else float(content[key])
        for key in ("mean", "standard_error")
    )
    return Record(
        content["model"],
        content["quantity"],
        content["setting"],
        content["images"],
        Estimate(value, error),
        about=content.get("about", {}),
    )
