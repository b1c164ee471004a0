"""Tables and figures of the dissect suite."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfrobust import analysis, attacks
from tfrobust.cli.page import Section
from tfrobust.cli.prose import Prose
from tfrobust.cli.records import Record, Records, cell, table_by_model
from tfrobust.cli.tables import Column, Form, Table, formatted, number, percent
from trainers.suites import attacks as suite_attacks
from trainers.suites import parts
from trainers.suites.dissect import figures
from trainers.suites.dissect.measure import BANDS, STATISTICS, Measurer
from trainers.suites.dissect.measures import MEASURES, measure

_MEANINGS = {
    "maximum": "the largest difference of a value",
    "total": "the sum of the differences of all values",
    "relative": "that sum over the sum of the natural features' absolute values",
}
_PERCENT = ("accuracy", "robust accuracy", "high-frequency share", "sign agreement")
_COUNT = formatted("{:d}")


def sections(records: Records, about: Measurer) -> list[Section]:
    """Everything, in the order of the paper, and at last all models by all measures."""
    prose = parts.prose(
        __package__,
        about.run,
        about.own,
        records,
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
    own = Records(record for record in records if record.model in about.results)
    own = own.where(None, epoch=None)
    made = [
        make_one(prose, records if make_one in (_epochs, _correlations) else own, about)
        for make_one in make
    ]
    return [section for part in made for section in part]


def _accuracy(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    yield prose.section(
        "accuracy",
        suite_attacks.accuracy_table(records, about.attacks, rounded=False),
        attacks=suite_attacks.words(about.attacks),
    )


def _curves(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    """A column a curve, a row a scale, and where each curve is highest."""
    absent = [name for name, own in about.results.items() if not own.curves]
    if len(absent) == len(about.results):
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
            functools.partial(figures.accuracy, curves, shown),
            wide=True,
            absent=without,
        )


def _curves_of(about: Measurer, block: str) -> figures.Curves:
    """The curves of each model by what they are of."""
    sides = {"low": "adversarial below it", "high": "adversarial above it"}
    return {
        model: {
            sides[kind] if block == "swapped" else images: curve
            for (images, kind), curve in own.curves.items()
            if (
                images == "swapped"
                if block == "swapped"
                else images != "swapped" and kind == block
            )
        }
        for model, own in about.results.items()
        if own.curves
    }


def _curve_table(curves: figures.Curves) -> Table:
    columns = {
        f"{model}, {what}": curve
        for model, by_name in curves.items()
        for what, curve in by_name.items()
    }
    scales = next(iter(columns.values())).scales
    cells = [
        [cell(point) for point in curve.means().values()] for curve in columns.values()
    ]
    rows = [[f"{scale:.3g}", *row] for scale, *row in zip(scales, *cells, strict=True)]
    peaks = [_peak(curve) for curve in columns.values()]
    rows.append(["highest at scale", *(f"{scale:.3g}" for scale in peaks)])
    heads = [Column("scale", numeric=False)]
    heads += [Column(name, _text_or(percent)) for name in columns]
    return Table(heads, rows)


def _spectra(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    columns = [Column("scales", numeric=False), Column("natural", number)]
    columns += [Column(f"{name}, difference", number) for name in about.results]
    first = records.models[0]
    rows: list[list[Any]] = []
    for low, high in zip(BANDS, BANDS[1:], strict=False):
        band = {"above": low, "up_to": high}
        natural = records.cell(first, "log_amplitude", **band)
        differences = [
            records.cell(model, "log_amplitude_difference", **band)
            for model in about.results
        ]
        rows.append([f"{low:g} to {high:.3g}", natural, *differences])
    yield prose.section(
        "spectra",
        Table(columns, rows),
        functools.partial(figures.spectra, about),
        wide=True,
    )


def _panels(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    """Figures 3 and 7, the same images for all models, and Figure 8."""
    for place, (title, attack) in enumerate(about.attacks.items()):
        shown, same = _broken_by(about, title)
        if any(len(rows) for rows in shown.values()):
            yield prose.section(
                "panels",
                draw=functools.partial(figures.panels, about, title, shown),
                wide=True,
                attack=title,
                figure=7 if isinstance(attack, attacks.FGSM) else 3,
                same=same,
                file=f"perturbations_{place}",
            )
    count = about.own.dissect_shown
    failed = {
        model: np.flatnonzero(own.main.groups["withstood"])[:count]
        for model, own in about.results.items()
    }
    failed = {model: rows for model, rows in failed.items() if len(rows)}
    if failed:
        yield prose.section(
            "failed",
            draw=functools.partial(figures.panels, about, about.first, failed),
            wide=True,
            without=[model for model in about.results if model not in failed],
        )


def _broken_by(about: Measurer, title: str) -> tuple[dict[str, np.ndarray], bool]:
    """Which images of each model to show, and whether they are the same for all."""
    broken = {model: own.attacked[title].broken for model, own in about.results.items()}
    count = about.own.dissect_shown
    every = np.flatnonzero(np.all([*broken.values()], axis=0))[:count]
    if len(every):
        return dict.fromkeys(broken, every), True
    return {model: np.flatnonzero(one)[:count] for model, one in broken.items()}, False


def _consistency(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    high = about.own.dissect_high
    columns: dict[str, tuple[str, Form]] = {
        "sign_agreement": ("sign agreement", percent),
        "total_variation_ratio": ("total variation", number),
        "share_at_bound": ("share at the bound", percent),
        "high_frequency_share": (f"energy above {high:g}", percent),
    }
    rows = []
    for model in about.results:
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
    for statistic in STATISTICS:
        draw = functools.partial(figures.responses, about)
        yield prose.section(
            "responses",
            _response_table(responses.where(statistic=statistic)),
            draw if statistic == "maximum" else None,
            wide=True,
            statistic=statistic,
            meaning=_MEANINGS[statistic],
        )


def _response_table(records: Records) -> Table:
    """A row for each group of images, a column for each layer."""
    layers = records.values_of("layer")
    groups: dict[str, dict[Any, Record]] = {}
    for record in records:
        source, how = record.setting.get("source"), record.setting
        images = f"{how['attack']} {how['group']}"
        if source:
            whole = how["group"] == "transferred all"
            images = f"from {source}{', all' if whole else ''}"
        groups.setdefault(f"{record.model}, {images}", {})[how["layer"]] = record
    body = [
        [title, max(record.images for record in row.values())]
        + [cell(row[layer].estimate) if layer in row else None for layer in layers]
        for title, row in groups.items()
    ]
    heads = [Column("model, images", numeric=False), Column("images", _COUNT)]
    return Table([*heads, *(Column(str(layer), number) for layer in layers)], body)


def _transfers(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    transfers = records.where("transfer")
    left = records.where("transfer_accuracy")
    if not transfers:
        return
    order = {name: place for place, name in enumerate(about.results)}
    rows = [
        [
            f"{record.setting['source']} to {record.model}",
            record.images,
            cell(record.estimate),
            records.cell(record.model, "accuracy", attacked=True),
            left.cell(
                record.model, "transfer_accuracy", source=record.setting["source"]
            ),
        ]
        for record in sorted(transfers, key=lambda record: order[record.model])
    ]
    heads = [
        Column("from, to", numeric=False),
        Column("images", _COUNT),
        Column("fooled", percent),
        Column("accuracy, natural", percent),
        Column("accuracy, transferred", percent),
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
            draw=functools.partial(figures.epochs, about, runs),
            wide=True,
            names=", ".join(runs),
            place=place,
        )


def _epoch_table(
    records: Records, about: Measurer, epochs: Sequence[int], layers: Sequence[str]
) -> Table:
    heads = [Column("epoch", _COUNT), Column("accuracy", percent)]
    heads += [Column(f"under {about.first}", percent)]
    heads += [Column("squared weights", number), Column("images", _COUNT)]
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
                cell(own.where("squared_weights")[0].estimate),
                broken[0].images,
                *(cell(record.estimate) for record in broken),
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
        if any(
            not math.isnan(record.estimate.value)
            for record in kernels.where(layer=layer)
        )
    ]
    rows.append(("mean over layers", "kernel_variation", {"layer": None}))
    yield prose.section("kernels", table_by_model(kernels, "layer", rows))


def _measures(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    rows = []
    for model in about.results:
        measured = [measure(records, model, name, about.first) for name in MEASURES]
        rows.append(
            [
                model,
                *(
                    None if record is None else cell(record.estimate)
                    for record in measured
                ),
            ]
        )
    heads = [Column("model", numeric=False)]
    heads += [Column(t, percent if t in _PERCENT else number) for t in MEASURES]
    yield prose.section("measures", Table(heads, rows))


def _correlations(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    if len(about.results) < 3:
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
    yield prose.section("correlations", Table(heads, rows), count=len(about.results))


def _text_or(form: Form) -> Form:
    """A form for cells of which some are text already."""
    return lambda value: value if isinstance(value, str) else form(value)


def _peak(curve: analysis.AccuracyCurve) -> float:
    values = [point.value for point in curve.means().values()]
    return curve.scales[int(np.argmax(values))]
