"""Tables and figures of the dissect suite."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfrobust import analysis, viz
from tfrobust.cli.page import Section
from tfrobust.cli.prose import Prose
from tfrobust.cli.records import Records, cell, table_by_model
from tfrobust.cli.tables import Column, Form, Table, formatted, number, percent
from trainers.suites import attacks as suite_attacks
from trainers.suites.dissect.measure import (
    BANDS,
    MEASURES,
    STATISTICS,
    Measurer,
    measure,
)
from trainers.suites.parts import ERROR

_MEANINGS = {
    "maximum": "the largest difference of a value",
    "total": "the sum of the differences of all values",
    "relative": "that sum over the sum of the natural features' absolute values",
}
_PERCENT = ("accuracy", "robust accuracy", "high-frequency share", "sign agreement")
_COUNT = formatted("{:d}")


def sections(records: Records, about: Measurer) -> list[Section]:
    """Everything, in the order of the paper, and at last all models by all measures."""
    prose = Prose(
        __package__,
        run=about.run,
        own=about.own,
        error=ERROR,
        main=about.first,
        drawn=f"{about.run.examples} test images drawn with seed {about.run.seed}",
    )
    make = (
        _accuracy,
        _curves,
        _spectra,
        _panels,
        _consistency,
        _responses,
        _transfers,
        _epochs,
        _kernels,
        _measures,
        _correlations,
    )
    # Records of epochs, and of all models together, have tables of their own.
    own = Records(one for one in records if one.model in about.seen)
    own = own.where(None, epoch=None)
    parts = [
        make_one(prose, records if make_one in (_epochs, _correlations) else own, about)
        for make_one in make
    ]
    return [section for part in parts for section in part]


def _accuracy(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    yield prose.section(
        "accuracy",
        suite_attacks.accuracy_table(records, about.attacks, rounded=False),
        clean=records.where("accuracy", attacked=None)[0].images,
        attacks=suite_attacks.words(about.attacks),
    )


def _curves(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    """A column a curve, a row a scale, and where each curve is highest."""
    absent = [name for name, seen in about.seen.items() if not seen.curves]
    if len(absent) == len(about.seen):
        return
    without = (
        f" Without {', '.join(absent)}, which takes no pixels outside of [0, 1]."
        if absent
        else ""
    )
    axis = {"low": "radius <= scale", "high": "radius > scale", "swapped": "scale"}
    for block, shown in axis.items():
        curves = _curves_of(about, block)
        yield prose.section(
            block,
            _curve_table(curves),
            functools.partial(_draw_curves, curves, shown),
            wide=True,
            absent=without,
        )


def _curves_of(
    about: Measurer, block: str
) -> dict[str, dict[str, analysis.AccuracyCurve]]:
    """The curves of each model by what they are of."""
    sides = {"low": "adversarial below it", "high": "adversarial above it"}
    return {
        model: {
            sides[kind] if block == "swapped" else images: curve
            for (images, kind), curve in seen.curves.items()
            if (
                images == "swapped"
                if block == "swapped"
                else images != "swapped" and kind == block
            )
        }
        for model, seen in about.seen.items()
        if seen.curves
    }


def _curve_table(curves: dict[str, dict[str, analysis.AccuracyCurve]]) -> Table:
    columns = {
        f"{model}, {what}": curve
        for model, by_name in curves.items()
        for what, curve in by_name.items()
    }
    scales = next(iter(columns.values())).scales
    cells = [[cell(point) for point in curve.accuracy] for curve in columns.values()]
    rows = [[f"{scale:.3g}", *row] for scale, *row in zip(scales, *cells, strict=True)]
    peaks = [_peak(curve) for curve in columns.values()]
    rows.append(["highest at scale", *(f"{scale:.3g}" for scale in peaks)])
    heads = [Column("scale", numeric=False)]
    heads += [Column(name, _text_or(percent)) for name in columns]
    return Table(heads, rows)


def _spectra(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    columns = [Column("scales", numeric=False), Column("natural", number)]
    columns += [Column(f"{name}, difference", number) for name in about.seen]
    first = records.models[0]
    rows: list[list[Any]] = []
    for low, high in zip(BANDS, BANDS[1:], strict=False):
        band = {"above": low, "up_to": high}
        natural = records.cell(first, "log_amplitude", **band)
        found = [
            records.cell(model, "log_amplitude_difference", **band)
            for model in about.seen
        ]
        rows.append([f"{low:g} to {high:.3g}", natural, *found])
    yield prose.section(
        "spectra",
        Table(columns, rows),
        functools.partial(_draw_spectra, about),
        wide=True,
    )


def _panels(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    for place, title in enumerate(about.attacks):
        shown = {
            model: np.flatnonzero(seen.attacked[title].broken)[
                : about.own.dissect_shown
            ]
            for model, seen in about.seen.items()
        }
        if any(len(rows) for rows in shown.values()):
            yield prose.section(
                "panels",
                draw=functools.partial(_draw_panels, about, title, shown),
                wide=True,
                attack=title,
                file=f"perturbations_{place}",
            )


def _consistency(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    high = about.own.dissect_high
    columns: dict[str, tuple[str, Form]] = {
        "sign_agreement": ("sign agreement", percent),
        "total_variation_ratio": ("total variation", number),
        "share_at_bound": ("share at the bound", percent),
        "high_frequency_share": (f"energy above {high:g}", percent),
    }
    rows = []
    for model in about.seen:
        for title in about.attacks:
            counted = records.get(model, "total_variation_ratio", attack=title)
            cells = [records.cell(model, key, attack=title) for key in columns]
            images = counted.images if counted else 0
            rows.append([f"{model}, {title}", images, *cells])
    heads = [Column("model, attack", numeric=False), Column("images", _COUNT)]
    heads += [Column(title, form) for title, form in columns.values()]
    noise = analysis.frequency_radius(*about.natural.shape) > np.float32(high)
    yield prose.section(
        "consistency", Table(heads, rows), high=high, noise=f"{noise.mean():.1%}"
    )


def _responses(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    responses = records.where("local_response")
    if not responses:
        return
    layers = [str(layer) for layer in responses.values_of("layer")]
    rows = list(dict.fromkeys(_response_row(one) for one in responses))
    for statistic in STATISTICS:
        yield prose.section(
            "responses",
            _response_table(responses.where(statistic=statistic), rows, layers),
            functools.partial(_draw_responses, about)
            if statistic == "maximum"
            else None,
            wide=True,
            statistic=statistic,
            meaning=_MEANINGS[statistic],
        )


_ResponseRow = tuple[str, str, str, str]
"""Model, attack, group and source."""


def _response_row(record: Any) -> _ResponseRow:
    about = record.setting
    return (
        record.model,
        str(about["attack"]),
        str(about["group"]),
        str(about.get("source", "")),
    )


def _response_table(
    records: Records, rows: Sequence[_ResponseRow], layers: Sequence[str]
) -> Table:
    by_row: dict[tuple[_ResponseRow, str], Any] = {
        (_response_row(one), str(one.setting["layer"])): one for one in records
    }
    body = []
    for row in rows:
        model, attack, group, source = row
        found = [by_row.get((row, layer)) for layer in layers]
        images = max((one.images for one in found if one), default=0)
        title = f"from {source}" if source else f"{attack} {group}"
        cells = [None if one is None else cell(one.estimate) for one in found]
        body.append([f"{model}, {title}", images, *cells])
    heads = [Column("model, images", numeric=False), Column("images", _COUNT)]
    return Table([*heads, *(Column(layer, number) for layer in layers)], body)


def _transfers(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    found = records.where("transfer")
    if not found:
        return
    order = {name: place for place, name in enumerate(about.seen)}
    rows = [
        [f"{one.setting['source']} to {one.model}", one.images, cell(one.estimate)]
        for one in sorted(found, key=lambda one: order[one.model])
    ]
    heads = [
        Column("from, to", numeric=False),
        Column("images", _COUNT),
        Column("fooled", percent),
    ]
    yield prose.section("transfer", Table(heads, rows))


def _epochs(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    alike: dict[tuple[str, ...], list[str]] = {}
    for run, epochs in about.epochs.items():
        response = next(iter(epochs.values())).response
        assert response is not None  # noqa: S101  Epochs are Keras models.
        alike.setdefault(response.layers, []).append(run)
        table = _epoch_table(records.of(run), about, list(epochs), response.layers)
        yield prose.section("epochs", table, name=run)
    # Runs of networks that share their layers share a figure.
    for place, runs in enumerate(alike.values()):
        yield prose.section(
            "over_epochs",
            draw=functools.partial(_draw_epochs, about, runs),
            wide=True,
            names=", ".join(runs),
            place=place,
        )


def _epoch_table(
    records: Records, about: Measurer, epochs: Sequence[int], layers: Sequence[str]
) -> Table:
    heads = [Column("epoch", _COUNT), Column("accuracy", percent)]
    heads += [Column(f"under {about.first}", percent), Column("images", _COUNT)]
    heads += [Column(layer, number) for layer in layers]
    rows = []
    for epoch in epochs:
        own = records.where(None, epoch=epoch)
        broken = own.where("local_response", group="broken", statistic="maximum")
        rows.append(
            [
                epoch,
                cell(own.where("accuracy")[0].estimate),
                cell(own.where("robust_accuracy", rounded=False)[0].estimate),
                broken[0].images,
                *(cell(one.estimate) for one in broken),
            ]
        )
    return Table(heads, rows)


def _kernels(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    kernels = records.where("kernel_variation")
    if not kernels:
        return
    layers = kernels.values_of("layer")
    rows = [
        (str(layer), "kernel_variation", {"layer": layer})
        for layer in layers
        if any(not math.isnan(one.estimate.value) for one in kernels.where(layer=layer))
    ]
    rows.append(("mean over layers", "kernel_variation", {"layer": None}))
    yield prose.section("kernels", table_by_model(kernels, "layer", rows))


def _measures(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    rows = []
    for model in about.seen:
        found = [measure(records, model, name, about.first) for name in MEASURES]
        rows.append(
            [model, *(None if one is None else cell(one.estimate) for one in found)]
        )
    heads = [Column("model", numeric=False)]
    heads += [Column(t, percent if t in _PERCENT else number) for t in MEASURES]
    yield prose.section("measures", Table(heads, rows))


def _correlations(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    if len(about.seen) < 3:
        return
    rows = [
        [
            name,
            *(
                records.cell("all", "rank_correlation", **{"of": name, "with": other})
                for other in MEASURES
            ),
        ]
        for name in MEASURES
    ]
    heads = [Column("measure", numeric=False)]
    heads += [Column(title, formatted("{:.2f}")) for title in MEASURES]
    yield prose.section("correlations", Table(heads, rows), count=len(about.seen))


def _text_or(form: Form) -> Form:
    """A form for cells of which some are text already."""
    return lambda value: value if isinstance(value, str) else form(value)


def _peak(curve: analysis.AccuracyCurve) -> float:
    values = [point.value for point in curve.accuracy]
    return curve.scales[int(np.argmax(values))]


def _draw_curves(
    curves: dict[str, dict[str, analysis.AccuracyCurve]], shown: str
) -> Figure:
    panels = {
        model: {what: curve.points() for what, curve in by_name.items()}
        for model, by_name in curves.items()
    }
    return viz.accuracy_over_scale(panels, shown)


def _draw_spectra(about: Measurer) -> Figure:
    differences = {name: seen.difference for name, seen in about.seen.items()}
    return viz.amplitude_spectra({"natural": about.natural}, differences)


def _draw_panels(
    about: Measurer, title: str, shown: Mapping[str, np.ndarray]
) -> Figure:
    natural, adversarial, names = [], [], []
    for model, rows in shown.items():
        natural.append(about.pixels[rows])
        adversarial.append(about.seen[model].attacked[title].adversarial[rows])
        names += [model] * len(rows)
    before, after = np.concatenate(natural), np.concatenate(adversarial)
    threat = about.attacks[title].threat
    within = threat.eps if threat.norm == "inf" else None
    eps = within or float(np.abs(after - before).max())
    return viz.perturbation_panels(before, after, eps, names)


def _draw_responses(about: Measurer) -> Figure:
    panels: dict[str, dict[str, analysis.LocalResponse]] = {}
    for model, seen in about.seen.items():
        main = seen.main
        if main.response is None:
            continue
        groups = {
            "broken": main.response.select(main.broken),
            "withstood": main.response.select(main.withstood),
        }
        for source, (counted, response) in seen.transferred.items():
            if response is not None:
                groups[f"from {source}"] = response.select(counted)
        panels[model] = groups
    return viz.local_responses(panels)


def _draw_epochs(about: Measurer, runs: Sequence[str]) -> Figure:
    return viz.local_responses_over_epochs(
        {
            run: {
                epoch: one.response.select(one.broken)
                for epoch, one in about.epochs[run].items()
                if one.response is not None
            }
            for run in runs
        }
    )
