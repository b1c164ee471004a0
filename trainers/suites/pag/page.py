"""Tables and figures of the PAG suite: models down, measures across."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from matplotlib.figure import Figure

from tfrobust import viz
from tfrobust.cli.page import Section
from tfrobust.cli.prose import Prose
from tfrobust.cli.records import Records, Row, table_by_model, table_by_quantity
from tfrobust.cli.tables import Column, Table, number, percent
from trainers.suites import attacks as suite_attacks
from trainers.suites import parts
from trainers.suites.pag.measure import Measurer, masked_balls, probe_steps

# More target classes beside each other cannot be looked at.
_MOST_COLUMNS = 12


def sections(records: Records, measurer: Measurer) -> list[Section]:
    """Everything, in the order of the paper."""
    run, own = measurer.run, measurer.own
    drawn = f"test images drawn with seed {run.seed}"
    prose = parts.prose(
        __package__,
        run,
        own,
        records,
        attacked=f"{run.examples} {drawn}",
        moved=f"{own.pag_moved} {drawn}",
    )
    make = (_accuracy, _alignment, _recognized, _by_class, _panel, _masking)
    return [section for part in make for section in part(prose, records, measurer)]


def _accuracy(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    yield prose.section(
        "accuracy",
        suite_attacks.accuracy_table(records, about.attacks),
        attacks=suite_attacks.words(about.attacks),
    )


def _alignment(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    cosines = records.where("cosine", **{"class": None})
    columns: list[Row] = [
        (str(name), "cosine", {"towards": name, "class": None})
        for name in cosines.values_of("towards")
    ]
    table = table_by_quantity(records, "model", columns, number)
    yield prose.section("alignment", table, classes=len(about.class_names))


def _recognized(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    judges = ["itself", "judge"] if about.judge else ["itself"]
    columns: list[Row] = [
        (
            f"{judge}, L2 {eps}",
            "recognised",
            {"judge": judge, "eps": eps.value, "class": None},
        )
        for eps in about.own.pag_moved_eps
        for judge in judges
    ]
    yield prose.section(
        "recognised",
        table_by_quantity(records, "model", columns, percent),
        radii=", ".join(map(str, about.own.pag_moved_eps)),
        judge=about.judge.name if about.judge else "",
    )


def _by_class(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    first = about.own.pag_moved_eps[0]
    towards = records.where("cosine").values_of("towards")
    columns = [Column("class", numeric=False)]
    rows: list[list] = [[name] for name in about.class_names]
    for model in records.models:
        columns += [Column(f"{model}, {name}", number) for name in towards]
        if about.judge:
            columns.append(Column(f"{model}, judge, L2 {first}", percent))
        for row in rows:
            own: dict = {"class": row[0]}
            row += [
                records.cell(model, "cosine", towards=name, **own) for name in towards
            ]
            if about.judge:
                setting = {"judge": "judge", "eps": first.value, **own}
                row.append(records.cell(model, "recognised", **setting))
    yield prose.section("by_class", Table(columns, rows))


def _panel(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    many = len(about.class_names) > _MOST_COLUMNS
    yield prose.section(
        "panel",
        draw=functools.partial(_draw_panel, about),
        wide=True,
        radius=about.own.pag_moved_eps[-1],
        cut=_MOST_COLUMNS if many else 0,
    )


def _masking(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    probes = records.where("masking_accuracy")
    if not probes:
        return
    for title, attack in masked_balls(about.attacks).items():
        rows: list[Row] = [
            (str(probe), "masking_accuracy", {"within": title, "probe": probe})
            for probe in probes.where(within=title).values_of("probe")
        ]
        yield prose.section(
            "probes",
            table_by_model(records, "attack", rows, percent),
            within=title,
            steps=probe_steps(attack),
        )
    yield prose.section("signs", _sign_table(records.where("masked")))


def _sign_table(masked: Records) -> Table:
    rows = [
        [
            f"{record.model}, {record.setting['within']}",
            str(record.setting["sign"]).replace("_", " "),
            "yes" if record.estimate.value else "no",
            record.about["reason"],
        ]
        for record in masked
        if "sign" in record.setting
    ]
    heads = ("model", "sign", "seen", "because")
    return Table([Column(head, numeric=False) for head in heads], rows)


def _draw_panel(about: Measurer) -> Figure:
    names = about.class_names[:_MOST_COLUMNS]
    count = len(next(iter(about.shown.values())))
    moved = {name: shown[:, : len(names)] for name, shown in about.shown.items()}
    return viz.towards_classes(about.moved.pixels[:count], moved, names)
