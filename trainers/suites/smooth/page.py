"""Tables and figures of the smooth suite: attacks down, measures across."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfrobust import analysis, viz
from tfrobust.cli.page import Section
from tfrobust.cli.prose import Prose
from tfrobust.cli.records import Records, Value, cell
from tfrobust.cli.tables import Column, Form, Table, formatted, number, percent
from trainers.suites.attacks import threat_model
from trainers.suites.options import EvaluateConfig
from trainers.suites.parts import ERROR
from trainers.suites.smooth.measure import Attacked, Tried
from trainers.suites.smooth.suite import SmoothSettings
from trainers.suites.smooth.trials import AT_EPS, BUDGET, SMALLEST

_COLUMNS: tuple[tuple[str, str, dict[str, Value], Form], ...] = (
    ("P_suc", "success", {"rounded": False}, percent),
    ("mean D", "distortion", {"rounded": False}, number),
    ("roughness", "roughness", {}, number),
    ("P_suc, 8 bits", "success", {"rounded": True}, percent),
    ("mean D, 8 bits", "distortion", {"rounded": True}, number),
)
_WORST = 5


def sections(
    records: Records,
    run: EvaluateConfig,
    own: SmoothSettings,
    attacked: Mapping[str, Attacked],
) -> list[Section]:
    """Everything, model by model, and then what connects them.

    Args:
        records: What was measured.
        run: The settings of the evaluation.
        own: Those of the suite.
        attacked: The images, by model.
    """
    images = (
        f"the first {run.examples} test images of {run.dataset} classified correctly"
    )
    parts: list[Section] = []
    for place, (name, examples) in enumerate(attacked.items(), start=1):
        prose = Prose(__package__, model=name, place=place, images=images, error=ERROR)
        parts += _of_model(prose, records.of(name), name, examples)
    return [*parts, *_transfers(Prose(__package__, own=own, error=ERROR), records)]


def _of_model(
    prose: Prose, records: Records, model: str, attacked: Attacked
) -> Iterator[Section]:
    clean = records.where("accuracy", attacked=None)[0]
    yield prose.section(
        "attacks",
        _attacks(records, SMALLEST, seconds=True),
        functools.partial(_draw_characteristics, attacked),
        accuracy=percent(cell(clean.estimate)),
        clean=clean.images,
    )
    if attacked.by(AT_EPS):
        yield prose.section("at_eps", _attacks(records, AT_EPS), radii=_radii(attacked))
    if budgets := records.where("gradients", protocol=BUDGET):
        yield prose.section(
            "budgets",
            _budgets(records),
            exact=all(each.about["exact"] for each in budgets),
            spaces="C&W, tanh" in budgets.values_of("attack"),
        )
    shown = {
        title: tried
        for title, tried in attacked.by(SMALLEST).items()
        if tried.result.success.any()
    }
    if shown:
        draw = functools.partial(_draw_worst, attacked, shown)
        yield prose.section("worst", draw=draw, wide=True, count=_WORST)
        median = "C&W" if "C&W" in shown else next(iter(shown))
        row = median_row(shown[median].curve)
        assert row is not None  # noqa: S101
        yield _magnified(prose, attacked, median, row)
        yield _scaled(prose, attacked, shown, median, row)


def _magnified(prose: Prose, attacked: Attacked, median: str, row: int) -> Section:
    missed = [
        title
        for title, tried in attacked.by(SMALLEST).items()
        if not tried.result.success[row]
    ]
    return prose.section(
        "magnified",
        draw=functools.partial(_draw_magnified, attacked, row),
        wide=True,
        attack=median,
        index=int(attacked.sample.index[row]),
        missed=missed,
    )


def _scaled(
    prose: Prose, attacked: Attacked, shown: Mapping[str, Tried], median: str, row: int
) -> Section:
    """Figure 4: the median image, and the one that costs a smooth attack most."""
    smooth = next((title for title in ("sC&W", "sPGD2") if title in shown), median)
    rows = [row, int(shown[smooth].curve.worst(1)[0])]
    return prose.section(
        "scaled",
        draw=functools.partial(_draw_scaled, attacked, rows),
        wide=True,
        attack=median,
        smooth=smooth,
        index=[int(attacked.sample.index[place]) for place in rows],
    )


def _attacks(records: Records, protocol: str, seconds: bool = False) -> Table:
    columns = [Column("attack", numeric=False)]
    columns += [Column(title, form) for title, _, _, form in _COLUMNS]
    columns += [Column("gradients")]
    columns += [Column("s/image", formatted("{:.2g}"))] * seconds
    rows = []
    for attack in records.where("success", protocol=protocol).values_of("attack"):
        how = {"attack": attack, "protocol": protocol}
        row = [attack, *_cells(records, how), _spent(records, how)]
        taken = records.cell(records.models[0], "seconds_per_image", **how)
        rows.append(row + [taken] * seconds)
    return Table(columns, rows)


def _budgets(records: Records) -> Table:
    columns = [Column("budget", numeric=False), Column("attack", numeric=False)]
    columns += [Column(title, form) for title, _, _, form in _COLUMNS[:3]]
    rows = [
        [record.setting["budget"], record.setting["attack"]]
        + _cells(records, record.setting, _COLUMNS[:3])
        for record in records.where("seconds_per_image", protocol=BUDGET)
    ]
    return Table(columns, rows)


def _cells(
    records: Records, how: Mapping[str, Value], columns: Sequence[Any] = _COLUMNS
) -> list[Any]:
    (model,) = records.models
    return [
        records.cell(model, quantity, **how, **more) for _, quantity, more, _ in columns
    ]


def _spent(records: Records, how: Mapping[str, Value]) -> str | None:
    """How many gradients an image takes, `<=` in front where it may be fewer."""
    for unit in ("gradients", "queries"):
        for record in records.where(unit, **how):
            count = f"{record.estimate.value:.0f}" + " queries" * (unit == "queries")
            return count if record.about["exact"] else f"<= {count}"
    return None


def _transfers(prose: Prose, records: Records) -> Iterator[Section]:
    for block, protocol in (("transfer", SMALLEST), ("transfer_at_eps", AT_EPS)):
        if shown := records.where("transfer", protocol=protocol):
            yield prose.section(block, _transfer_table(records, shown))


def _transfer_table(records: Records, shown: Records) -> Table:
    pairs = list(
        dict.fromkeys((record.model, record.setting["target"]) for record in shown)
    )
    titles = ["clean accuracy", *shown.values_of("attack")]
    columns = [
        [records.cell(source, "target_accuracy", target=target, attack=None)]
        + [shown.cell(source, target=target, attack=attack) for attack in titles[1:]]
        for source, target in pairs
    ]
    heads = [Column(f"{source} to {target}", percent) for source, target in pairs]
    rows = list(zip(titles, *columns, strict=True))
    return Table([Column("attack", numeric=False), *heads], rows)


def _radii(attacked: Attacked) -> list[str]:
    return [
        f"{title} {threat_model(tried.trial.attack)} {tried.trial.radii[-1]:g}"
        for title, tried in attacked.by(AT_EPS).items()
    ]


def _draw_characteristics(attacked: Attacked) -> Figure:
    curves = {
        name: tuple(part.tolist() for part in tried.curve.curve())
        for name, tried in attacked.by(SMALLEST).items()
    }
    return viz.operating_characteristics(curves)


def _draw_worst(attacked: Attacked, shown: Mapping[str, Tried]) -> Figure:
    cases = {}
    for name, tried in shown.items():
        rows, result = tried.curve.worst(_WORST), tried.result
        images = attacked.sample.pixels[rows]
        cases[name] = (images, tried.images[rows], result.distortion[rows])
    return viz.worst_cases(cases)


def _draw_scaled(attacked: Attacked, rows: Sequence[int]) -> Figure:
    images, cases = attacked.sample.pixels[rows], {}
    for title, tried in attacked.by(SMALLEST).items():
        result = tried.result
        distances = np.where(result.success, result.distortion, np.nan)
        cases[title] = (images, tried.images[rows], distances[rows])
    return viz.worst_cases(cases, by_channel=True)


def median_row(curve: analysis.Characteristic) -> int | None:
    """The success of median distortion, the lower of two; `None` without any."""
    ranked = curve.worst(len(curve.success))
    return int(ranked[len(ranked) // 2]) if len(ranked) else None


def _draw_magnified(attacked: Attacked, row: int) -> Figure:
    shown = {"original": attacked.sample.pixels[row : row + 1]}
    for title, tried in attacked.by(SMALLEST).items():
        distortion = f"D = {tried.result.distortion[row]:.2f}"
        below = distortion if tried.result.success[row] else "not fooled"
        shown[f"{title}\n{below}"] = tried.images[row : row + 1]
    return viz.magnified(
        {
            title: (image, analysis.to_display(analysis.magnify(image)))
            for title, image in shown.items()
        }
    )
