"""Pages: nothing on them that was not measured, and what was not is counted."""

import math
import re

import numpy as np
import pytest

from tests.trainers.reproduction.made_up import network, of_paper, record
from trainers.reproduction import dissect, lcnn, pages
from trainers.reproduction.budget import BUDGETS
from trainers.reproduction.catalog import CATALOG
from trainers.reproduction.results import Results
from trainers.suites.dissect.suite import DissectSettings
from trainers.suites.lcnn import measure

HOUR = BUDGETS["cpu_hour"]
FLAGS = {"dataset": "shapes", "width": "16", "epochs": "5", "train_examples": "0"}


def two(curvature=5.0):
    """Standard and LCNN, as far as anybody has measured them."""
    summary = {"seconds_per_epoch_median": 12.5}
    ball = {"threat_model": "Linf", "eps": 8 / 255}
    attack = {"attack": "AutoAttack Linf 8/255", "rounded": False, **ball}

    def made(name, curvature):
        trusted = record(name, "trustworthy", 1.0, **ball)
        trusted.about["verdict"] = "Trustworthy"
        return network(
            record(name, "accuracy", 0.625, 0.005, split="test"),
            record(name, "curvature", curvature, 0.25, split="test"),
            record(name, "robust_accuracy", 0.125, 0.02, **attack),
            record(name, "accuracy_over_eps", 0.25, 0.02, attack="PGD", **ball),
            trusted,
            flags=FLAGS,
            summary=summary,
        )

    return Results(
        {"standard": [made("standard", 50.0)], "lcnn": [made("lcnn", curvature)]}
    )


def section(sections, start):
    return next(each for each in sections if each.title.startswith(start))


def row(table, first):
    titles = [column.title for column in table.columns]
    return dict(
        zip(titles, next(r for r in table.shown() if r[0] == first), strict=True)
    )


def test_theirs_and_ours_stand_side_by_side():
    sections = pages.of_paper(CATALOG["lcnn"], HOUR, two())
    t1 = section(sections, "LCNN-T1: Geometry")
    lcnn = row(t1.table, "LCNNs")
    assert lcnn["curvature, paper"] == "69.50 +- 2.41"
    assert lcnn["curvature, here"] == "5.00 +- 0.25"
    assert lcnn["accuracy, %, here"] == "62.50 +- 0.50"
    assert lcnn["gradient norm, here"] == "-"
    assert (lcnn["images"], lcnn["seeds"]) == ("100", "1")
    assert row(t1.table, "CURE")["curvature, here"] == "-"
    # Seven rows of five; of two networks accuracy, curvature and its ratio are there.
    assert "Of the paper's 35 numbers 29 have none of ours" in t1.sentence
    networks = section(sections, "Networks").table
    standard = row(networks, "standard")
    assert (standard["width"], standard["training images"]) == ("16", "all")
    assert standard["seconds an epoch"] == "12.5"


def test_findings_have_a_mark_and_their_rule_beside_it():
    sections = pages.of_paper(CATALOG["lcnn"], HOUR, two())
    first = section(sections, "What the paper says").table.shown()[0]
    assert first[0] == "LCNN-T1" and first[2] == "holds"
    assert first[3] == (
        "curvature of lcnn < curvature of standard (5.00 +- 0.25 < 50.00 +- 0.25): yes"
    )
    other = pages.of_paper(CATALOG["lcnn"], HOUR, two(curvature=49.9))
    mark = section(other, "What the paper says").table.shown()[0][2]
    assert mark == "does not hold at this scale"


def test_what_was_not_tested_is_listed():
    said = section(
        pages.of_paper(CATALOG["lcnn"], HOUR, two()), "What was not tested"
    ).statements
    assert "cifar100, on which the paper's tables are." in said
    assert "LCNN-T1: 29 of 35 numbers." in said
    assert any(text.startswith("Not trained: gradreg, ") for text in said)
    gpu = pages.of_paper(CATALOG["lcnn"], BUDGETS["gpu"], two())
    said = section(gpu, "What was not tested").statements
    assert not any("cifar100" in text or "scale" in text for text in said)


def test_summary_counts_marks():
    text = pages.summary(CATALOG["lcnn"], Results({}))
    count = len(CATALOG["lcnn"].findings)
    assert text.endswith(
        f"0 holds, 0 holds in part, 0 does not hold at this scale, {count} not tested."
    )


def test_index_has_every_network_that_is_measured():
    index, marks = pages.index([*CATALOG.values()], two())
    names = [cells[0] for cells in index.table.rows]
    assert "standard" in names and "c4" in names
    assert not any("teacher" in name for name in names)
    assert row(index.table, "lcnn") == {
        "network": "lcnn",
        "paper": "lcnn",
        "ball": "Linf 0.0314",
        "clean, %": "62.50 +- 0.50",
        "PGD-20, %": "25.0 +- 2.0",
        "AutoAttack, %": "12.5 +- 2.0",
        "verdict": "Trustworthy",
        "curvature": "5.00 +- 0.25",
        "gradient norm": "-",
        "alignment": "-",
    }
    assert set(row(index.table, "c4").values()) == {"c4", "smooth", "-"}
    assert row(marks.table, "pag")["with ours"] == "0"
    # One ratio, two accuracies and two curvatures, ...: what is not empty is counted.
    shown = int(row(marks.table, "lcnn")["with ours"])
    cells = [
        cell
        for table in CATALOG["lcnn"].tables
        for r in table.beside(two()).rows
        for theirs, cell in zip(r[1:-2:2], r[2:-2:2], strict=True)
        if theirs is not None
    ]
    assert shown == sum(cell is not None for cell in cells)


@pytest.mark.parametrize("budget", BUDGETS)
def test_pages_are_written_as_html_and_markdown(tmp_path, budget):
    written = pages.write([*CATALOG.values()], BUDGETS[budget], two(), tmp_path)
    names = ["index", *CATALOG]
    assert [path.name for path in written] == [f"{name}.html" for name in names]
    text = (tmp_path / "lcnn.md").read_text()
    assert "| LCNNs | 22.04 +- 1.41 | - |" in text
    # No template was left with a hole, and figures that nobody drew are not named.
    assert not re.search(r"\{[{%]", text) and ".png" not in text
    html = (tmp_path / "lcnn.html").read_text()
    assert "69.50 &plusmn; 2.41" in html and "5.00 &plusmn; 0.25" in html


def test_the_dissect_page_draws_its_curves():
    def curve(images):
        setting = {"kind": "low", "images": images}
        return [
            record(
                "dissect_standard", "filtered_accuracy", 0.5, 0.1, scale=at, **setting
            )
            for at in dissect._SCALES
        ]

    of = network(*curve("natural"), *curve("adversarial"))
    [drawn] = CATALOG["dissect"].figures(Results({"dissect_standard": [of]}))
    axes = drawn.draw().axes
    assert axes[0].get_title() == "dissect_standard"
    # In percent.
    lines = [line.get_ydata() for line in axes[0].get_lines()]
    assert sum(np.array_equal(values, 50 * np.ones(15)) for values in lines) == 2


def test_the_lcnn_page_draws_its_curves():
    how = {"attack": "PGD L2", "rounded": False}
    of = network(
        record("lcnn", "accuracy", 0.9, 0.1, split="test", attacked=True),
        *(
            record("lcnn", "robust_accuracy", 0.9 - eps, 0.1, eps=eps, **how)
            for eps in lcnn._EPS
        ),
        *(
            record("lcnn", quantity, factor * radius, 0.1, radius=radius)
            for quantity, factor in (("gradient_stability", 1), ("stability_bound", 5))
            for radius in lcnn._RADII
        ),
    )
    robust, stable = CATALOG["lcnn"].figures(Results({"lcnn": [of]}))
    line = robust.draw().axes[0].get_lines()[0]
    assert line.get_xdata() == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert line.get_ydata() == pytest.approx([90, 85, 80, 75, 70])
    drawn = [line.get_ydata() for line in stable.draw().axes[0].get_lines()]
    for factor in (1, 5):
        expected = [factor * radius for radius in lcnn._RADII]
        assert any(np.allclose(values, expected) for values in drawn)


def test_radii_and_scales_are_those_of_the_suites():
    """A record is found by them to the last bit."""
    assert tuple(lcnn._RADII) == measure.RADII
    count = DissectSettings.dissect_scales
    assert dissect._SCALES == np.linspace(0.0, math.sqrt(2.0), count).tolist()


def test_the_papers_own_numbers_fill_every_cell_that_can_be_measured():
    """No source of a table is out of reach of the records that it names."""
    for paper in CATALOG.values():
        theirs = of_paper(paper)
        for table in paper.tables:
            empty = sum(
                cell.theirs != "" and cell.ours is None
                for r in table.rows
                for cell in r.cells
            )
            assert table.missing(theirs)[0] == empty
