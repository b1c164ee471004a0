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
from tfrobust.cli.records import Record, Records, Value, cell
from tfrobust.cli.tables import Column, Form, Table, formatted, number, percent
from trainers.suites.options import EvaluateConfig
from trainers.suites.parts import ERROR
from trainers.suites.smooth.measure import BUDGET, LARGEST, SMALLEST, Attacked, Tried
from trainers.suites.smooth.suite import SmoothSettings

_COLUMNS: tuple[tuple[str, str, dict[str, Value], Form], ...] = (
    ("P_suc", "success", {"rounded": False}, percent),
    ("mean D", "distortion", {"rounded": False}, number),
    ("roughness", "roughness", {}, number),
    ("P_suc, 8 bits", "success", {"rounded": True}, percent),
    ("mean D, 8 bits", "distortion", {"rounded": True}, number),
)
_WORST = 5
# Bilateral filters see an edge where a pixel changes by more. The library's default,
# 5 levels, would take every perturbation of MNIST's for one.
_MAGNIFYING_RANGE = 0.2


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
    for place, (name, one) in enumerate(attacked.items(), start=1):
        prose = Prose(
            __package__, model=name, place=place, images=images, error=ERROR
        )
        parts += _of_model(prose, records.of(name), name, one)
    return [*parts, *_transfers(Prose(__package__, own=own, error=ERROR), records)]


def _of_model(
    prose: Prose, records: Records, model: str, one: Attacked
) -> Iterator[Section]:
    clean = records.where("accuracy", split="test")[0]
    yield prose.section(
        "attacks",
        _attacks(records, SMALLEST, seconds=True),
        functools.partial(_draw_characteristics, records),
        accuracy=percent(cell(clean.estimate)),
        clean=clean.images,
    )
    if one.largest:
        yield prose.section("largest", _attacks(records, LARGEST), radii=_radii(one))
    if budgets := records.where("gradients", protocol=BUDGET):
        exact = all(each.about["exact"] for each in budgets)
        yield prose.section("budgets", _budgets(records), exact=exact)
    shown = {key: tried for key, tried in one.smallest.items() if _successes(tried)}
    if shown:
        draw = functools.partial(_draw_worst, one, shown)
        yield prose.section("worst", draw=draw, wide=True, count=_WORST)
        yield _magnified(prose, one, "C&W" if "C&W" in shown else next(iter(shown)))


def _magnified(prose: Prose, one: Attacked, attack: str) -> Section:
    row = median_row(one.smallest[attack])
    assert row is not None  # noqa: S101
    return prose.section(
        "magnified",
        draw=functools.partial(_draw_magnified, one, row),
        wide=True,
        attack=attack,
        index=int(one.sample.index[row]),
        range=f"{_MAGNIFYING_RANGE:g}",
        missed=[
            key for key, tried in one.smallest.items() if not tried.result.success[row]
        ],
    )
