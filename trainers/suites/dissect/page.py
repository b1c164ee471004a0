"""Tables and figures of the dissect suite."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfrobust import analysis, viz
from tfrobust.cli.page import Section
from tfrobust.cli.tables import Column, Form, Table, formatted, number, percent
from tfrobust.core.estimates import Estimate, mean
from trainers.suites.dissect.measure import (
    KINDS,
    Attacked,
    Findings,
    Measured,
    correlations,
    measures,
    radius_of,
)
from trainers.suites.parts import cell_of, pair

_ERROR = "+- is one standard error of the mean."
# Edges of the bands in which spectra are compared.
_BANDS = (0.0, 0.25, 0.5, 0.75, 1.0, math.sqrt(2.0))
_STATISTICS = {
    "maximum": "the largest difference of a value",
    "total": "the sum of the differences of all values",
    "relative": "that sum over the sum of the natural features' absolute values",
}
_PERCENT = ("accuracy", "robust accuracy", "high-frequency share", "sign agreement")


def facts(found: Findings) -> dict[str, str]:
    """The settings, in words."""
    config = found.config
    return {
        "data": f"{config.dataset}, {found.test_size} test images",
        "attacks": "; ".join(
            f"{name}: {_told(one)}" for name, one in _any(found).attacked.items()
        ),
        "geometry": f"{config.geometry_examples} of the attacked images, "
        f"{config.power_iterations} power iterations",
        "layers": config.dissect_layers or "of each network's own choice",
        "checkpoints": ", ".join(
            f"{name}: {len(epochs)} epochs" for name, epochs in found.runs.items()
        )
        or "none",
    }


def sections(found: Findings) -> list[Section]:
    """Everything, in the order of the paper, and at last all models by all measures."""
    make = (
        _accuracy,
        _filtered,
        _swapped,
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
    return [section for one in make for section in one(found)]


def _accuracy(found: Findings) -> Iterator[Section]:
    config = found.config
    count = config.clean_examples or found.test_size
    which = f"{'the first' if config.clean_examples else 'all'} {count}"
    names = list(_any(found).attacked)
    yield Section(
        "Accuracy, clean and under attack",
        "Share of images classified correctly. Clean: on "
        f"{which} test images of {config.dataset}. The rest: on {_drawn(found)}, first "
        f"as they are, then after each attack. {_ERROR}",
        _table(
            found,
            ["clean", "clean, attacked images", *names],
            percent,
            lambda one: [
                one.accuracy(),
                mean(~one.main.result.already),
                *(attacked.accuracy() for attacked in one.attacked.values()),
            ],
        ),
    )


def _filtered(found: Findings) -> Iterator[Section]:
    name = _main_name(found)
    told = {
        "low": (
            "Accuracy on what lies below a frequency",
            "As Figure 1 of the paper: images without all that lies above the scale",
            "radius <= scale",
        ),
        "high": (
            "Accuracy on what lies above a frequency",
            "The rest of the same images, which is what lies above the scale",
            "radius > scale",
        ),
    }
    for kind in KINDS:
        title, sentence, shown = told[kind]
        curves = {
            model: {
                what: curve
                for (what, of_kind), curve in one.filtered.items()
                if of_kind == kind
            }
            for model, one in found.models.items()
        }
        yield from _curves(
            title,
            f"{sentence}, natural and after {name}, {_all_drawn(found)}. The scale is "
            "the radius in the spectrum over half the image's size: 1 is the finest "
            "stripes along an axis, sqrt(2) everything.",
            curves,
            f"filtered_{kind}",
            shown,
        )


def _swapped(found: Findings) -> Iterator[Section]:
    curves = {
        model: {
            f"adversarial {'below' if kind == 'low' else 'above'} it": curve
            for kind, curve in one.swapped.items()
        }
        for model, one in found.models.items()
    }
    yield from _curves(
        "Accuracy on images with a part of the adversarial ones",
        "As Figure 6 of the paper: what lies on one side of the scale is natural, on "
        f"the other after {_main_name(found)}, {_all_drawn(found)}.",
        curves,
        "swapped",
        "scale",
    )


def _curves(
    title: str,
    sentence: str,
    curves: dict[str, dict[str, analysis.AccuracyCurve]],
    figure_name: str,
    shown: str,
) -> Iterator[Section]:
    """A column a curve, a row a scale, and where each curve is highest."""
    absent = [model for model, one in curves.items() if not one]
    curves = {model: one for model, one in curves.items() if one}
    if not curves:
        return
    if absent:
        sentence += (
            f" Without {', '.join(absent)}, which takes no pixels outside of [0, 1]."
        )
    columns = {
        f"{model}, {what}": curve
        for model, one in curves.items()
        for what, curve in one.items()
    }
    scales = next(iter(columns.values())).scales
    cells = [[*_cells(curve.accuracy)] for curve in columns.values()]
    peaks = [_peak(curve) for curve in columns.values()]
    rows = [[f"{scale:.3g}", *row] for scale, *row in zip(scales, *cells, strict=True)]
    rows.append(["highest at scale", *(f"{scale:.3g}" for scale in peaks)])
    yield Section(
        title,
        f"{sentence} {_ERROR}",
        Table(
            [Column("scale", numeric=False)]
            + [Column(name, _text_or(percent)) for name in columns],
            rows,
        ),
        functools.partial(_draw_curves, curves, shown),
        figure_name,
        f"{title}: accuracy over the scale, a panel a model.",
        wide=True,
    )


def _spectra(found: Findings) -> Iterator[Section]:
    radius = analysis.frequency_radius(*found.natural.shape)
    columns = [Column("scales", numeric=False), Column("natural", number)]
    columns += [Column(f"{name}, difference", number) for name in found.models]
    rows: list[list[Any]] = []
    for low, high in zip(_BANDS, _BANDS[1:], strict=False):
        band = (radius > low) & (radius <= np.float32(high))
        spectra = [found.natural, *(one.difference for one in found.models.values())]
        means = [float(one[band].mean()) if band.any() else None for one in spectra]
        rows.append([f"{low:g} to {high:.3g}", *means])
    yield Section(
        "Amplitude spectra",
        "As Figure 2 of the paper: the logarithm of the amplitude at each frequency, "
        f"the mean over {_drawn(found)} and channels; then by how much it is higher "
        f"after {_main_name(found)} on each model. 0.69 would be twice the amplitude. "
        "The table has means over bands of the scale.",
        Table(columns, rows),
        functools.partial(_draw_spectra, found),
        "amplitude_spectra",
        "Mean spectrum of natural images, and by how much adversarial ones exceed it.",
        wide=True,
    )


def _panels(found: Findings) -> Iterator[Section]:
    for name in _any(found).attacked:
        shown = {
            model: np.flatnonzero(one.attacked[name].found)[
                : found.config.dissect_shown
            ]
            for model, one in found.models.items()
        }
        if not any(len(rows) for rows in shown.values()):
            continue
        yield Section(
            f"Perturbations by {name}",
            "As Figures 3, 7 and 8 of the paper: the first images that it succeeded on "
            "for each model, its change as a whole, the mean over channels, and each "
            "channel by itself.",
            draw=functools.partial(_draw_panels, found, name, shown),
            figure_name=f"perturbations_{name.lower()}",
            figure_text="Natural and adversarial images, and the change between them "
            "from blue, the lowest, to red, the highest.",
            wide=True,
        )


def _consistency(found: Findings) -> Iterator[Section]:
    high = found.config.dissect_high
    titles = (
        ("images", formatted("{:d}")),
        ("sign agreement", percent),
        ("total variation", number),
        ("share at the bound", percent),
        (f"energy above {high:g}", percent),
    )
    rows = []
    for model, name, one in _by_attack(found):
        means = one.statistics.means(one.found)
        bound = cell_of(pair(means.share_at_bound)) if one.within_linf else None
        rows.append(
            [
                f"{model}, {name}",
                means.images,
                *_cells([means.sign_agreement, means.total_variation_ratio]),
                bound,
                *_cells([one.high_share()]),
            ]
        )
    noise = analysis.frequency_radius(*found.natural.shape) > np.float32(high)
    yield Section(
        "Local consistency of perturbations",
        "Of the perturbations that fooled a model which was right before. Sign "
        "agreement: how many neighbouring pixels change in the same direction, half of "
        "them by chance. Total variation: between neighbours, over the sum of absolute "
        "changes; 2 by chance, 0 of a constant. Share at the bound: of values that "
        "changed as much as an Linf ball allows. Energy above: what part of the sum of "
        f"squares has frequencies above the scale {high:g}; of noise that is "
        f"independent from pixel to pixel, {noise.mean():.1%}. {_ERROR}",
        Table(
            [
                Column("model, attack", numeric=False),
                *(Column(*title) for title in titles),
            ],
            rows,
        ),
    )


def _responses(found: Findings) -> Iterator[Section]:
    rows = list(_response_rows(found))
    if not rows:
        return
    layers = list(dict.fromkeys(name for _, one in rows for name in one.layers))
    for statistic, told in _STATISTICS.items():
        yield Section(
            f"Local response differences, {statistic}",
            "As Tables 1 to 5 of the paper: features of the adversarial image less "
            f"those of the natural one, in absolute value; here {told}, the mean over "
            "images. Found: the attack fooled the model, which was right before. "
            "Failed: it did not. From another: the images that fooled the other model, "
            f"where this one has the natural image right. {_ERROR}",
            _response_table(rows, layers, statistic),
            functools.partial(_draw_responses, found) if statistic == "maximum" else
            None,
            "local_responses" if statistic == "maximum" else "",
            "Largest and summed difference over the layers, a column a model."
            if statistic == "maximum" else "",
            wide=True,
        )  # fmt: skip


def _transfers(found: Findings) -> Iterator[Section]:
    if len(found.models) < 2:
        return
    rows = [
        [f"{source} to {name}", int(moved.counted.sum()), *_cells([moved.rate()])]
        for name, one in found.models.items()
        for source, moved in one.transferred.items()
    ]
    yield Section(
        "Transfer",
        f"Of the images by {_main_name(found)} that fooled one model and that another "
        f"has right when natural, the share that fools the other. {_ERROR}",
        Table(
            [
                Column("from, to", numeric=False),
                Column("images", formatted("{:d}")),
                Column("fooled", percent),
            ],
            rows,
        ),
    )


def _epochs(found: Findings) -> Iterator[Section]:
    for run, epochs in found.runs.items():
        layers = next(iter(epochs.values())).responses().layers
        columns = [Column("epoch", formatted("{:d}")), Column("accuracy", percent)]
        columns.append(Column(f"under {_main_name(found)}", percent))
        columns.append(Column("images", formatted("{:d}")))
        columns += [Column(layer, number) for layer in layers]
        rows = []
        for epoch, one in epochs.items():
            means = one.responses().means(one.found)
            rows.append(
                [
                    epoch,
                    *_cells([mean(~one.result.already), one.accuracy()]),
                    int(one.found.sum()),
                    *_cells([row.maximum for row in means]),
                ]
            )
        yield Section(
            f"Local responses over the epochs of {run}",
            "As Figures 5 and 9 of the paper: the network of each epoch, attacked by "
            f"itself, on the first {found.config.checkpoint_examples} of the images; "
            "the largest difference in each layer where the attack fooled it. "
            f"{_ERROR}",
            Table(columns, rows),
        )
    # Runs of networks that share their layers share a figure.
    alike: dict[tuple[str, ...], list[str]] = {}
    for run, epochs in found.runs.items():
        alike.setdefault(next(iter(epochs.values())).responses().layers, []).append(run)
    for place, runs in enumerate(alike.values()):
        yield Section(
            f"Local responses over epochs, {', '.join(runs)}",
            "Largest and summed difference, a column a run, a line a layer.",
            draw=functools.partial(_draw_epochs, found, runs),
            figure_name=f"local_responses_over_epochs_{place}",
            figure_text="Differences in each layer over the epochs of training.",
            wide=True,
        )


def _kernels(found: Findings) -> Iterator[Section]:
    known = {name: one.kernels for name, one in found.models.items() if one.kernels}
    if not known:
        return
    by_model = {
        name: {
            row.name: row.variation for row in rows if row.variation == row.variation
        }
        for name, rows in known.items()
    }
    layers = list(dict.fromkeys(name for rows in by_model.values() for name in rows))
    rows: list[list[Any]] = [
        [layer, *(rows.get(layer) for rows in by_model.values())] for layer in layers
    ]
    means = _cells([found.models[name].kernel_variation() for name in known])
    rows.append(["mean over layers", *means])
    yield Section(
        "Smoothness of kernels",
        "Variation between neighbouring weights of each convolution over their norm: 0 "
        "of a constant kernel, 1 of independent weights, 2 of a checkerboard. The "
        "lower, the smoother.",
        Table(
            [Column("layer", numeric=False), *(Column(name, number) for name in known)],
            rows,
        ),
    )


def _measures(found: Findings) -> Iterator[Section]:
    titles = list(measures(_any(found)))
    yield Section(
        "Models by measures",
        "What this and the other papers hold against a model, on one page. Robust "
        f"accuracy: under {_main_name(found)}. Gradient norm and curvature: of the "
        f"loss, on the first {found.config.geometry_examples} of the images. The rest: "
        "of the perturbations that fooled the model, as in the tables above; the last "
        f"difference is the largest in the deepest layer. {_ERROR}",
        Table(
            [
                Column("model", numeric=False),
                *(Column(t, percent if t in _PERCENT else number) for t in titles),
            ],
            [
                [name, *_cells(measures(one).values())]
                for name, one in found.models.items()
            ],
        ),
    )


def _correlations(found: Findings) -> Iterator[Section]:
    if len(found.models) < 3:
        return
    table = correlations(found.models.values())
    rows = [[title, *_found_or_none(row.values())] for title, row in table.items()]
    yield Section(
        "Rank correlations of the measures",
        f"Spearman's, over the {len(found.models)} models: 1 where two measures put "
        "them in the same order, -1 in the opposite one. Few models say little, and "
        "models that were trained alike say it several times.",
        Table(
            [
                Column("measure", numeric=False),
                *(Column(title, formatted("{:.2f}")) for title in table),
            ],
            rows,
        ),
    )


def _response_rows(
    found: Findings,
) -> Iterator[tuple[str, analysis.LocalResponse]]:
    """Every group of images of every model that can be looked into."""
    for model, one in found.models.items():
        for name, attacked in one.attacked.items():
            if attacked.response is not None:
                for group, chosen in _groups(attacked).items():
                    yield f"{model}, {name} {group}", attacked.response.select(chosen)
        for source, moved in one.transferred.items():
            if moved.response is not None:
                part = moved.response.select(moved.counted)
                yield f"{model}, from {source}", part


def _groups(one: Attacked) -> dict[str, np.ndarray]:
    return {"found": one.found, "failed": one.failed}


def _response_table(
    rows: Sequence[tuple[str, analysis.LocalResponse]],
    layers: Sequence[str],
    statistic: str,
) -> Table:
    body = []
    for title, response in rows:
        means = {row.layer: getattr(row, statistic) for row in response.means()}
        cells = [
            cell_of(pair(means[layer])) if layer in means else None for layer in layers
        ]
        body.append([title, len(response), *cells])
    return Table(
        [
            Column("model, images", numeric=False),
            Column("images", formatted("{:d}")),
            *(Column(layer, number) for layer in layers),
        ],
        body,
    )


def _table(
    found: Findings,
    titles: Sequence[str],
    form: Form,
    cells: Callable[[Measured], Sequence[Estimate]],
) -> Table:
    """One row for each model, one column for each title."""
    return Table(
        [Column("model", numeric=False), *(Column(title, form) for title in titles)],
        [[name, *_cells(cells(one))] for name, one in found.models.items()],
    )


def _cells(estimates: Any) -> list[Any]:
    return [cell_of(pair(estimate)) for estimate in estimates]


def _found_or_none(values: Any) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


def _text_or(form: Form) -> Form:
    """A form for cells of which some are text already."""
    return lambda cell: cell if isinstance(cell, str) else form(cell)


def _peak(curve: analysis.AccuracyCurve) -> float:
    values = [point.value for point in curve.accuracy]
    return curve.scales[int(np.argmax(values))]


def _draw_curves(
    curves: dict[str, dict[str, analysis.AccuracyCurve]], shown: str
) -> Figure:
    panels = {
        model: {what: curve.points() for what, curve in one.items()}
        for model, one in curves.items()
    }
    return viz.accuracy_over_scale(panels, shown)


def _draw_spectra(found: Findings) -> Figure:
    differences = {name: one.difference for name, one in found.models.items()}
    return viz.amplitude_spectra({"natural": found.natural}, differences)


def _draw_panels(found: Findings, name: str, shown: dict[str, np.ndarray]) -> Figure:
    natural, adversarial, names = [], [], []
    for model, rows in shown.items():
        one = found.models[model].attacked[name]
        pixels = found.sample.images.images[rows].astype(np.float32) / np.float32(255)
        natural.append(pixels)
        adversarial.append(one.result.adversarial[rows])
        names += [model] * len(rows)
    changes = np.concatenate(adversarial) - np.concatenate(natural)
    one = _any(found).attacked[name]
    eps = radius_of(one.attack) if one.within_linf else float(np.abs(changes).max())
    return viz.perturbation_panels(
        np.concatenate(natural), np.concatenate(adversarial), eps, names
    )


def _draw_responses(found: Findings) -> Figure:
    panels: dict[str, dict[str, analysis.LocalResponse]] = {}
    for model, one in found.models.items():
        response = one.main.response
        if response is None:
            continue
        groups = {
            title: response.select(chosen)
            for title, chosen in _groups(one.main).items()
        }
        for source, moved in one.transferred.items():
            if moved.response is not None:
                groups[f"from {source}"] = moved.response.select(moved.counted)
        panels[model] = groups
    return viz.local_responses(panels)


def _draw_epochs(found: Findings, runs: Sequence[str]) -> Figure:
    return viz.local_responses_over_epochs(
        {
            run: {
                epoch: one.responses().select(one.found)
                for epoch, one in found.runs[run].items()
            }
            for run in runs
        }
    )


def _by_attack(found: Findings) -> Iterator[tuple[str, str, Attacked]]:
    for model, one in found.models.items():
        for name, attacked in one.attacked.items():
            yield model, name, attacked


def _any(found: Findings) -> Measured:
    return next(iter(found.models.values()))


def _main_name(found: Findings) -> str:
    return next(iter(_any(found).attacked))


def _told(one: Attacked) -> str:
    """Norm, radius and steps of an attack."""
    threat = one.attack.threat
    norm = "Linf" if one.within_linf else "L2"
    steps = getattr(one.attack, "steps", 1)
    size = getattr(one.attack, "step_size", None)
    length = f" of {255 * size:.3g}/255" if size else ""
    restarts = getattr(one.attack, "restarts", 1)
    starts = "" if steps == 1 else f", {restarts} start(s)"
    return f"{norm} {threat.eps:.4g}, {steps} step(s){length}{starts}"


def _drawn(found: Findings) -> str:
    return f"{found.config.examples} test images drawn with seed {found.config.seed}"


def _all_drawn(found: Findings) -> str:
    return f"{_drawn(found)}, right or wrong from the start"
