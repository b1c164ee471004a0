"""Tables and figures of the standard suite: a sentence a model, then its reasons."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure

from tfrobust import viz
from tfrobust.cli.page import Section
from tfrobust.cli.prose import Prose
from tfrobust.cli.records import Record, Records, Row, cell, table_by_model
from tfrobust.cli.tables import Column, Table, formatted, number, percent
from tfrobust.core.estimates import share_interval
from tfrobust.core.fractions import format_fraction
from trainers.suites import attacks as suite_attacks
from trainers.suites import parts
from trainers.suites.standard.measure import QUANTITIES, Measurer
from trainers.suites.standard.suite import TRUSTWORTHY

# So few images beside each other are large enough without the width of the page.
_FEW = 3


def sections(records: Records, measurer: Measurer) -> list[Section]:
    """Everything: the verdicts first."""
    run, own = measurer.run, measurer.own
    drawn = f"test images drawn with seed {run.seed}"
    prose = parts.prose(
        __package__,
        run,
        own,
        records,
        attacked=f"{run.examples} {drawn}",
        looked_at=f"{own.geometry_examples} {drawn}",
        first=measurer.title,
        norm=measurer.threat_model,
        eps=str(measurer.eps),
    )
    make = (_verdict, _accuracy, _over_eps, _checks, _classes, _fell, _parts, _geometry)
    return [section for part in make for section in part(prose, records, measurer)]


def statement(records: Records, title: str) -> str:
    """What there is to say of a model in one sentence, and the verdict on it.

    Args:
        records: Of one model.
        title: Of the attack whose robust accuracy counts.
    """
    clean = records.where("accuracy", attacked=None)[0]
    hits = round(clean.estimate.value * clean.images)
    low, high = share_interval(hits, clean.images)
    left = records.where("robust_accuracy", rounded=False, attack=title)[0]
    union = ""
    for every in records.where("robust_accuracy", rounded=False, attack="all"):
        if every.estimate.value < left.estimate.value:
            union = f" and {_percent(every)} under all attacks together"
    return (
        f"{clean.model}: clean {percent(clean.estimate.value)} [{percent(low)}, "
        f"{percent(high)}], robust {_percent(left)} under {title}{union} on "
        f"{left.images} images. {_judged(records)}"
    )


def _judged(records: Records) -> str:
    about = records.where("trustworthy")[0].about
    verdict, sentence = about["verdict"], about["sentence"].rstrip(".")
    if not sentence or verdict == TRUSTWORTHY:
        return f"{verdict}."
    return f"{verdict}: {sentence.removeprefix(f'{verdict}: ')}."


def _percent(record: Record) -> str:
    """A share with its error; with an interval where all images or none count."""
    value, error = record.estimate
    if error != 0:
        return percent(cell(record.estimate))
    low, high = share_interval(round(value * record.images), record.images)
    return f"{percent(value)} [{percent(low)}, {percent(high)}]"


def _title(about: Measurer, model: str, records: Records) -> str:
    """The attack whose robust accuracy counts: AutoAttack, if it could be run."""
    attacks = records.of(model).where("robust_accuracy").values_of("attack")
    return about.title if about.title in attacks else str(attacks[0])


def _verdict(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    curves = records.where("accuracy_over_eps", attack="all")
    yield prose.section(
        "verdict",
        draw=functools.partial(_draw_models, records, about) if curves else None,
        statements=[
            statement(records.of(name), _title(about, name, records))
            for name in records.models
        ],
    )


def _accuracy(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    blind = {name: _title(about, name, records) for name in about.blind}
    left = records.where("robust_accuracy")
    made = {
        title: attack
        for title, attack in about.attacks.items()
        if title in left.values_of("attack")
    }
    titles = [name for name in left.values_of("attack") if name != "all"]
    columns: list[Row] = [
        ("clean", "accuracy", {"attacked": None}),
        ("clean, attacked images", "accuracy", {"attacked": True}),
    ]
    for rounded, ending in ((False, ""), (True, ", 8 bits")):
        columns += [
            (f"{title}{ending}", "robust_accuracy", _how(title, rounded))
            for title in (*titles, *(["all"] if left.where(attack="all") else []))
        ]
    yield prose.section(
        "accuracy",
        table_by_model(records, "images", columns, percent),
        attacks=suite_attacks.words(made),
        blind=blind,
    )


def _how(title: Any, rounded: bool) -> dict[str, Any]:
    return {"attack": title, "rounded": rounded}


def _over_eps(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    for place, name in enumerate(records.models):
        mine = records.of(name).where("accuracy_over_eps")
        if not mine:
            continue
        titles = list(map(str, mine.values_of("attack")))
        columns = [Column("eps", numeric=False)]
        columns += [Column(title, percent) for title in titles]
        rows = [
            [short(eps)] + [mine.cell(name, attack=title, eps=eps) for title in titles]
            for eps in mine.values_of("eps")
        ]
        yield prose.section(
            "over_eps",
            Table(columns, rows),
            functools.partial(_draw_attacks, records.of(name), about),
            name=name,
            place=place,
            cheap=suite_attacks.words(about.cheap(about.eps.value)),
        )


def short(eps: Any) -> str:
    """A radius as a person would write it, in 255ths if it is nearly so many.

    Example:
        >>> short(8 / 255 * 0.75), short(0.225), short(1 / 7)
        ('6/255', '0.225', '0.1429')
    """
    if "/" not in format_fraction(eps) and len(f"{eps:g}") <= len("0.225"):
        return f"{eps:g}"
    levels = 255 * eps
    if abs(levels - round(levels)) < 1e-6 and levels >= 1:
        return f"{round(levels)}/255"
    return f"{eps:.4g}"


def _checks(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    columns = [Column(head, numeric=False) for head in ("check", "outcome", "because")]
    for record in records.where("trustworthy"):
        rows = [
            [check["title"], check["outcome"], _because(check)]
            for check in sorted(record.about["checks"], key=_urgency)
        ]
        yield prose.section(
            "checks", Table(columns, rows), name=record.model, count=about.judged
        )


def _urgency(check: Mapping[str, str]) -> int:
    """What is the matter comes first, in the order of the judge otherwise."""
    outcomes = ("wrong", "doubtful", "passed", "not applicable")
    return outcomes.index(check["outcome"])


def _because(check: Mapping[str, str]) -> str:
    """The numbers of a check, after what is the matter if anything is."""
    return ": ".join(part for part in (check["reason"], check["evidence"]) if part)


def _classes(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    rows: list[list[Any]] = [[name] for name in about.class_names]
    columns = [Column("class", numeric=False)]
    for model in records.models:
        for ending, quantity in (
            ("clean", "class_accuracy"),
            ("robust", "class_robust_accuracy"),
        ):
            columns.append(Column(f"{model}, {ending}", percent))
            for row in rows:
                row.append(records.cell(model, quantity, **{"class": row[0]}))
    yield prose.section("classes", Table(columns, rows))


def _fell(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    for place, name in enumerate(records.models):
        if name in about.fallen:
            yield prose.section(
                "fell",
                draw=functools.partial(_draw_fallen, about, name),
                wide=len(about.fallen[name].images) > _FEW,
                name=name,
                place=place,
                title=_title(about, name, records),
            )


def _parts(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    for name in records.models:
        mine = records.of(name)
        broken = mine.where("broken_by")
        if not broken:
            continue
        columns = [
            Column("part", numeric=False),
            Column("images broken"),
            Column("of all", percent),
            Column("questions to the model", number),
            Column("seconds", formatted("{:.3g}")),
        ]
        rows = []
        for record in broken:
            how = dict(record.setting)
            count = round(record.estimate.value * record.images)
            rows.append(
                [str(how["part"]), count, cell(record.estimate)]
                + [mine.cell(name, key, **how) for key in ("queries", "seconds")]
            )
        yield prose.section(
            "attack_parts", Table(columns, rows), name=name, title=about.title
        )


def _geometry(prose: Prose, records: Records, about: Measurer) -> Iterator[Section]:
    rows: list[Row] = [
        (parts.plain_name(key), key, {"split": "test"}) for key in QUANTITIES
    ]
    if records.where(QUANTITIES[0]):
        yield prose.section("geometry", table_by_model(records, "mean", rows))


def _curve(records: Records, attack: str) -> tuple[list[Any], list[Any], list[Any]]:
    """Radii, accuracy and error of one model under an attack; from no radius on."""
    clean = records.where("accuracy", attacked=True)
    points = [*clean, *records.where("accuracy_over_eps", attack=attack)]
    radii = [record.setting.get("eps", 0.0) for record in points]
    means, errors = zip(*(record.estimate for record in points), strict=True)
    return radii, list(means), list(errors)


def _star(records: Records, title: str) -> tuple[float, float, float]:
    (record,) = records.where("robust_accuracy", rounded=False, attack=title)
    return (float(record.setting["eps"]), *record.estimate)  # type: ignore[arg-type]


def _draw_models(records: Records, about: Measurer) -> Figure:
    names = records.where("accuracy_over_eps").models
    curves = {name: _curve(records.of(name), "all") for name in names}
    stars = {
        f"{name}, {about.title}": _star(records.of(name), about.title) for name in names
    }
    return viz.accuracy_over_eps(curves, about.threat_model, stars)


def _draw_attacks(records: Records, about: Measurer) -> Figure:
    # The star has the first colour, so that the strongest attacks look alike.
    titles = records.where("accuracy_over_eps").values_of("attack")
    curves = {str(title): _curve(records, str(title)) for title in reversed(titles)}
    stars = {
        str(title): _star(records, str(title))
        for title in records.where("robust_accuracy").values_of("attack")
        if title != "all"
    }
    return viz.accuracy_over_eps(curves, about.threat_model, stars)


def _draw_fallen(about: Measurer, name: str) -> Figure:
    fallen, names = about.fallen[name], about.class_names
    notes = [
        f"{count} questions" if count else f"place {place}"
        for place, count in enumerate(fallen.queries.tolist(), start=1)
    ]
    if fallen.broken_by:
        pairs = zip(notes, fallen.broken_by, strict=True)
        notes = [f"{note}\n{part}" for note, part in pairs]
    return viz.fallen_images(
        fallen.images,
        fallen.adversarial,
        [names[label] for label in fallen.labels],
        [names[answer] for answer in fallen.answers],
        notes,
    )
