"""Tables and figures of the LCNN suite: settings down, models across."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from matplotlib.figure import Figure

from tfrobust import viz
from tfrobust.cli.page import Section
from tfrobust.cli.prose import Prose
from tfrobust.cli.records import Records, Row, table_by_model
from tfrobust.cli.tables import Table, number, percent
from trainers.suites import parts
from trainers.suites.lcnn.measure import (
    COMPARED,
    LINEARIZATION_RADII,
    QUANTITIES,
    RADII,
    Curve,
)
from trainers.suites.lcnn.suite import LcnnSettings
from trainers.suites.options import EvaluateConfig


def sections(
    records: Records,
    run: EvaluateConfig,
    own: LcnnSettings,
    curves: Mapping[str, Curve],
) -> list[Section]:
    """Everything, in the order of the paper.

    Args:
        records: What was measured.
        run: The settings of the evaluation.
        own: Those of the suite.
        curves: The attacks, by title.
    """
    drawn = f"test images drawn with seed {run.seed}"
    prose = parts.prose(
        __package__,
        run,
        own,
        records,
        attacked=f"{run.examples} {drawn}",
        looked_at=f"{own.geometry_examples} {drawn}",
    )
    robust = [
        _accuracy(prose, records, own, title, curve, place)
        for place, (title, curve) in enumerate(curves.items())
    ]
    union = [prose.section("union", _union(records, own))] if len(curves) > 1 else []
    return [
        *robust,
        *union,
        prose.section("rounded", _rounded(records, own, curves)),
        _geometry(prose, records),
        _discrepancy(prose, records),
        _stability(prose, records),
        _linearization(prose, records),
    ]


def _accuracy(
    prose: Prose,
    records: Records,
    own: LcnnSettings,
    title: str,
    curve: Curve,
    place: int,
) -> Section:
    rows: list[Row] = [
        ("clean", "accuracy", {"attacked": None}),
        ("clean, attacked images", "accuracy", {"attacked": True}),
    ]
    return prose.section(
        "accuracy",
        table_by_model(records, "eps", rows + _over_eps(own, title), percent),
        functools.partial(_draw_accuracy, records, own, title),
        attacks=curve.words(title),
        ending=f"_{place}" if place else "",
    )


def _over_eps(own: LcnnSettings, title: str, rounded: bool = False) -> list[Row]:
    return [
        (
            str(eps),
            "robust_accuracy",
            {"attack": title, "eps": eps.value, "rounded": rounded},
        )
        for eps in own.eps
    ]


def _union(records: Records, own: LcnnSettings) -> Table:
    return table_by_model(records, "eps", _over_eps(own, "all"), percent)


def _rounded(records: Records, own: LcnnSettings, curves: Mapping[str, Curve]) -> Table:
    several = len(curves) > 1
    rows = [
        (f"{name}, {label}" if several else label, key, how)
        for name in curves
        for label, key, how in _over_eps(own, name, rounded=True)
    ]
    return table_by_model(records, "eps", rows, percent)


def _geometry(prose: Prose, records: Records) -> Section:
    rows = [(parts.plain_name(key), key, {"split": "test"}) for key in QUANTITIES]
    return prose.section("geometry", table_by_model(records, "mean", rows))


def _discrepancy(prose: Prose, records: Records) -> Section:
    rows = [(parts.plain_name(key), "discrepancy", {"of": key}) for key in COMPARED]
    origins: dict[str, list[str]] = {}
    for record in records.where(QUANTITIES[0], split="train"):
        origins.setdefault(record.about["images_from"], []).append(record.model)
    table = table_by_model(records, "relative difference", rows)
    return prose.section("discrepancy", table, origins=origins)


def _stability(prose: Prose, records: Records) -> Section:
    rows: list[Row] = [
        (f"{radius:.2g}", "gradient_stability", {"radius": radius}) for radius in RADII
    ]
    changes = records.where("gradient_stability")
    return prose.section(
        "stability",
        table_by_model(records, "radius", rows, number),
        functools.partial(_draw_stability, records) if changes else None,
        refused=[name for name in records.models if name not in changes.models],
    )


def _linearization(prose: Prose, records: Records) -> Section:
    rows: list[Row] = [
        (f"{name}, {radius:g}", key, {"radius": radius})
        for radius in LINEARIZATION_RADII
        for name, key in (
            ("error", "linearization_error"),
            ("bound", "linearization_bound"),
        )
    ]
    found = records.where("linearization_error")
    return prose.section(
        "linearization",
        table_by_model(records, "radius", rows, number),
        refused=[name for name in records.models if name not in found.models],
    )


def _draw_accuracy(records: Records, own: LcnnSettings, title: str) -> Figure:
    radii = [0.0, *(eps.value for eps in own.eps if eps.value)]
    attacked = records.where("robust_accuracy", attack=title, rounded=False)
    curves = {}
    for name in records.models:
        clean = records.of(name).where("accuracy", attacked=True)
        # An eps of 0 that was asked for stands in the place of no attack.
        points = [*clean, *attacked.of(name)][-len(radii) :]
        means, errors = zip(*(record.estimate for record in points), strict=True)
        curves[name] = (radii, means, errors)
    return viz.accuracy_over_eps(curves, str(attacked[0].setting["threat_model"]))


def _draw_stability(records: Records) -> Figure:
    changes = records.where("gradient_stability")
    bounds = records.where("stability_bound")
    curves = {}
    for name in changes.models:
        means, errors = zip(
            *(record.estimate for record in changes.of(name)), strict=True
        )
        bound = [record.estimate.value for record in bounds.of(name)]
        curves[name] = (RADII, means, errors, bound)
    return viz.gradient_stability(curves)
