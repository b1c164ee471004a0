"""Tables and the figure of the predictors suite."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from matplotlib.figure import Figure

from tfrobust import viz
from tfrobust.cli.page import Section
from tfrobust.cli.prose import Prose
from tfrobust.cli.records import Records, Row, table_by_quantity
from tfrobust.cli.tables import Table, number, percent
from tfrobust.core.estimates import Estimate
from trainers.suites import attacks as suite_attacks
from trainers.suites import parts
from trainers.suites.predictors.measure import (
    PREDICTORS,
    QUANTILES,
    Measurer,
)

_GIVEN = "linear_distance"
_OTHERS = [name for name in PREDICTORS if name != _GIVEN]


def sections(records: Records, measurer: Measurer) -> list[Section]:
    """Correlations first, then what they are correlations of."""
    run = measurer.run
    prose = parts.prose(
        __package__,
        run,
        measurer.own,
        records,
        attacked=f"{run.examples} test images drawn with seed {run.seed}",
        attacks=suite_attacks.words(measurer.attacks),
        radius=_radius(measurer),
    )
    make = (_partial, _plain, _ratios, _means)
    return [section for part in make for section in part(prose, records, measurer)]


def _partial(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    columns: list[Row] = [
        (parts.plain_name(name), "rank_correlation", _key(name, _GIVEN))
        for name in _OTHERS
    ]
    yield prose.section(
        "partial",
        table_by_quantity(records, "model", columns, number),
        draw=functools.partial(_draw, records),
        wide=True,
    )


def _plain(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    columns: list[Row] = [
        (parts.plain_name(name), "rank_correlation", _key(name, None))
        for name in PREDICTORS
    ]
    table = table_by_quantity(records, "model", columns, number)
    yield prose.section("plain", table)


def _ratios(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    columns: list[Row] = [
        (f"{quantile:.0%}", "distance_over_linear", {"quantile": quantile})
        for quantile in QUANTILES
    ]
    table = table_by_quantity(records, "model", columns, number)
    yield prose.section("ratios", table)


def _means(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    columns: list[Row] = [
        (parts.plain_name(name), name, {}) for name in ("distance", *PREDICTORS)
    ]
    accuracy: list[Row] = [
        ("clean", "accuracy", {"split": "test", "attacked": None}),
        (f"left within {_radius(about)}", "withstood", {}),
    ]
    shares = table_by_quantity(records, "model", accuracy, percent)
    yield prose.section(
        "means", _beside(shares, table_by_quantity(records, "model", columns, number))
    )


def _radius(about: Measurer) -> str:
    return f"{about.own.predictors_radius:g}"


def _beside(left: Table, right: Table) -> Table:
    """Two tables of the same rows as one."""
    rows = [[*a, *b[1:]] for a, b in zip(left.rows, right.rows, strict=True)]
    return Table([*left.columns, *right.columns[1:]], rows)


def _key(predictor: str, given: str | None) -> dict[str, str | None]:
    return {"predictor": predictor, "given": given}


def _draw(records: Records) -> Figure:
    def of(model: str, name: str) -> Estimate:
        (found,) = records.of(model).where("rank_correlation", **_key(name, _GIVEN))
        return found.estimate

    return viz.correlations(
        {
            model: {parts.plain_name(name): of(model, name) for name in _OTHERS}
            for model in records.models
        }
    )
