"""The pages of a reproduction: one for each paper, and one for all."""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tfrobust.cli import page
from tfrobust.cli.page import Section
from tfrobust.cli.prose import Prose
from tfrobust.cli.run_folder import versions, write_text
from tfrobust.cli.tables import Column, Table, formatted, number
from trainers.reproduction.budget import Budget
from trainers.reproduction.findings import MARKS
from trainers.reproduction.papers import Paper, Training
from trainers.reproduction.results import Measured, Network, Results, Value
from trainers.reproduction.tables import as_cell

_WHOLE = formatted("{:d}")


def write(
    papers: Sequence[Paper], budget: Budget, results: Results, out: pathlib.Path
) -> list[pathlib.Path]:
    """Writes the page of each paper, and with several an index; their HTML files.

    Args:
        papers: The papers.
        budget: At what cost they were reproduced.
        results: What came out.
        out: Folder to write to.
    """
    facts = {"budget": f"{budget.name}: {budget.about}", **versions()}
    written = []
    if len(papers) > 1:
        sections = index(papers, results)
        written.append(_write(out / "index", "Four papers, one table", facts, sections))
    for paper in papers:
        title = f"Reproduction: {paper.name}"
        named = {"paper": paper.title, **facts}
        sections = of_paper(paper, budget, results)
        written.append(_write(out / paper.name, title, named, sections))
    return written


def _write(
    path: pathlib.Path, title: str, facts: dict[str, str], sections: list[Section]
) -> pathlib.Path:
    from tfrobust import viz

    html = path.with_suffix(".html")
    write_text(html, page.page(title, facts, sections))
    write_text(path.with_suffix(".md"), page.markdown(title, facts, sections))
    for section in sections:
        if section.draw is not None:
            viz.save(section.draw(), path.with_name(f"{section.figure_name}.png"))
    return html


def of_paper(paper: Paper, budget: Budget, results: Results) -> list[Section]:
    """Everything on one paper.

    Args:
        paper: The paper.
        budget: At what cost it was reproduced.
        results: What came out.
    """
    prose = Prose(__package__ or "", paper=paper, budget=budget)
    short = prose.section(
        "short", statements=[summary(paper, results)], label=paper.tables[0].label
    )
    tables = []
    for table in paper.tables:
        missing, count = table.missing(results)
        shown = table.beside(results)
        tables.append(
            prose.section("table", shown, about=table, missing=missing, count=count)
        )
    untested = prose.section("untested", statements=_untested(paper, budget, results))
    return [
        short,
        prose.section("networks", _networks(paper, budget, results)),
        *tables,
        prose.section("findings", _findings(paper, results)),
        *paper.figures(results),
        untested,
    ]


def summary(paper: Paper, results: Results) -> str:
    """How many findings have each mark, in one sentence.

    Args:
        paper: The paper.
        results: What came out.
    """
    marks = Counter(finding.mark(results) for finding in paper.findings)
    words = ", ".join(f"{marks[mark]} {mark}" for mark in MARKS)
    return f"Of {len(paper.findings)} sentences of the paper: {words}."


def _networks(paper: Paper, budget: Budget, results: Results) -> Table:
    heads = [
        Column(title, numeric=title not in ("network", "in the paper", "settings"))
        for title in (
            "network",
            "in the paper",
            "settings",
            "data",
            "width",
            "epochs",
            "training images",
            "seeds",
            "seconds an epoch",
        )
    ]
    return Table(heads, [_network(each, results) for each in paper.trainings])


def _network(training: Training, results: Results) -> list[Any]:
    found = results.of(training.name)
    head = [training.name, training.title, training.setting]
    if not found:
        return [*head, *[None] * 6]
    flags, seconds = found[-1].flags, found[-1].summary["seconds_per_epoch_median"]
    images = flags.get("train_examples", "0")
    return [
        *head,
        flags["dataset"],
        flags.get("width"),
        flags["epochs"],
        "all" if images == "0" else images,
        str(len(found)),
        number(seconds),
    ]


def _findings(paper: Paper, results: Results) -> Table:
    titles = ("label", "the paper says", "here", "rule, and our numbers")
    rows = []
    for finding in paper.findings:
        answers = "; ".join(answer.text for answer in finding.answers(results))
        rows.append(
            [
                finding.label,
                finding.sentence,
                finding.mark(results),
                " ".join(filter(None, [answers, finding.note])),
            ]
        )
    return Table([Column(title, numeric=False) for title in titles], rows)


def _untested(paper: Paper, budget: Budget, results: Results) -> list[str]:
    """What of the paper has no number here, a sentence each."""
    said = [f"{text}." for text in paper.not_tested]
    if budget.scaled and paper.is_scaled:
        said.append(f"The paper's own scale: this is {budget.about}.")
    if paper.full_data and budget.data(paper) != paper.full_data:
        said.append(f"{paper.full_data}, on which the paper's tables are.")
    for table in paper.tables:
        missing, count = table.missing(results)
        if missing:
            said.append(f"{table.label}: {missing} of {count} numbers.")
    absent = [each.name for each in paper.trainings if not results.of(each.name)]
    if absent:
        said.append(f"Not trained: {', '.join(absent)}.")
    return [*said, *paper.notes]


def index(papers: Sequence[Paper], results: Results) -> list[Section]:
    """Every network of every paper in one table.

    Args:
        papers: The papers.
        results: What came out.
    """
    prose = Prose(__package__ or "")
    rows = [
        _of_network(paper, training, results)
        for paper in papers
        for training in paper.trainings
        if training.measured
    ]
    words = ("network", "paper", "ball", "verdict")
    titles = (
        "network",
        "paper",
        "ball",
        "clean, %",
        "PGD-20, %",
        "AutoAttack, %",
        "verdict",
        "curvature",
        "gradient norm",
        "alignment",
    )
    heads = [
        Column(title, str if title in words else number, numeric=title not in words)
        for title in titles
    ]
    return [
        prose.section("index", Table(heads, rows)),
        prose.section("marks", _marks(papers, results)),
    ]


def _of_network(paper: Paper, training: Training, results: Results) -> list[Any]:
    name, found = training.name, results.of(training.name)
    ball, verdicts = _judged(found)
    test: dict[str, Any] = {"split": "test"}
    asked = [
        Measured(name, "accuracy", {**test, "attacked": None, "epoch": None}, 100),
        *(
            [
                Measured(
                    name,
                    "accuracy_over_eps",
                    {"attack": "PGD", **ball},
                    100,
                ),
                Measured(
                    name,
                    "robust_accuracy",
                    {"attack": _autoattack(found), "rounded": False, **ball},
                    100,
                ),
            ]
            if ball
            else []
        ),
    ]
    values: list[Value | None] = [each.value(results) for each in asked]
    values += [None] * (3 - len(values))
    more = [
        Measured(name, "curvature", test).value(results),
        Measured(name, "gradient_norm", test).value(results),
        Measured(name, "cosine", {"towards": "class mean", "class": None}).value(
            results
        ),
    ]
    shown = [None if value is None else as_cell(value) for value in (*values, *more)]
    where = f"{ball['threat_model']} {ball['eps']:.3g}" if ball else None
    return [name, paper.name, where, *shown[:3], verdicts or None, *shown[3:]]


def _judged(found: Sequence[Network]) -> tuple[dict[str, Any], str]:
    """The ball that networks were judged in, and the verdicts on them."""
    records = [
        record for network in found for record in network.records.where("trustworthy")
    ]
    verdicts = dict.fromkeys(str(record.about.get("verdict")) for record in records)
    ball = dict(records[0].setting) if records else {}
    return {key: ball[key] for key in ("threat_model", "eps") if key in ball}, (
        ", ".join(verdicts)
    )


def _autoattack(found: Sequence[Network]) -> str:
    """What the records call AutoAttack, whose title has the radius in it."""
    titles = [
        str(record.setting["attack"])
        for network in found
        for record in network.records.where("robust_accuracy", rounded=False)
    ]
    return next((title for title in titles if title.startswith("AutoAttack")), "")


def _marks(papers: Sequence[Paper], results: Results) -> Table:
    heads = [Column("paper", numeric=False)]
    heads += [Column(mark, _WHOLE) for mark in MARKS]
    heads += [Column("numbers of its tables", _WHOLE), Column("with ours", _WHOLE)]
    rows: list[list[Any]] = []
    for paper in papers:
        marks = Counter(finding.mark(results) for finding in paper.findings)
        counts = [table.missing(results) for table in paper.tables]
        whole = sum(count for _, count in counts)
        empty = sum(missing for missing, _ in counts)
        rows.append([paper.name, *(marks[m] for m in MARKS), whole, whole - empty])
    return Table(heads, rows)
