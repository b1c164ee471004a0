"""Tables and figures of the PAG suite: models down, measures across."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure

from tfrobust import viz
from tfrobust.cli.page import Section
from tfrobust.cli.tables import Column, Form, Table, number, percent
from tfrobust.core.estimates import Estimate
from trainers.suites.pag.measure import NORMS, Findings, Measured, pixels_of, radii
from trainers.suites.parts import cell_of, pair

_ERROR = "+- is one standard error of the mean."
# More target classes beside each other cannot be looked at.
_MOST_COLUMNS = 12


def facts(found: Findings) -> dict[str, str]:
    """The settings, in words."""
    config = found.config
    return {
        "data": f"{config.dataset}, {found.test_size} test images, {found.train_size} "
        "training images",
        "attacks": f"{_attack(found)}, within Linf {config.pag_linf:g} and L2 "
        f"{config.pag_l2:g}",
        "directions": "from all training images to the class means, and from "
        f"{config.pag_samples} of each class to the nearest one",
        "moved images": f"{config.pag_moved}, by targeted L2 PGD of "
        f"{config.pag_moved_steps} steps from the image itself, within "
        f"{_radii(found)}",
        "judge": f"{found.judge}, {config.judge}" if found.judge else "none",
    }


def sections(found: Findings) -> list[Section]:
    """Everything, in the order of the paper."""
    make = (_accuracy, _alignment, _recognised, _by_class, _panel, _masking)
    return [section for one in make for section in one(found)]


def _accuracy(found: Findings) -> Iterator[Section]:
    config = found.config
    count = config.clean_examples or found.test_size
    which = f"{'the first' if config.clean_examples else 'all'} {count}"
    titles = [f"{norm} {eps:g}" for norm, eps in radii(config).items()]
    yield Section(
        "Accuracy, clean and under attack",
        "Share of images classified correctly, as Tables 1, 2 and 4 of the paper. "
        f"Clean: on {which} test images of {config.dataset}. The rest: on "
        f"{_drawn(found, config.examples)}, first as they are, then after "
        f"{_attack(found)} has moved each within the radius. Both: what neither of the "
        "two attacks breaks. 8 bits: attacked images are first rounded to the 256 "
        f"levels of an image file. {_ERROR}",
        _table(
            found,
            ["clean", "clean, attacked images", *titles, "both"]
            + [f"{title}, 8 bits" for title in titles],
            percent,
            lambda one: [
                one.accuracy(),
                one.attacked.accuracy(),
                *(one.robust_accuracy(norm) for norm in NORMS),
                one.attacked.robust_accuracy(),
                *(one.robust_accuracy(norm, rounded=True) for norm in NORMS),
            ],
        ),
    )


def _alignment(found: Findings) -> Iterator[Section]:
    titles = list(_any(found).alignments)
    yield Section(
        "Alignment of gradients",
        "Mean cosine of the angle between the gradient of a class's logit in the image "
        "and the direction from the image to what represents that class in the "
        f"training data, over all {len(found.class_names)} classes and "
        f"{_drawn(found, found.config.examples)}. 1 is the same direction, 0 a right "
        f"angle, which is what a random direction has. {_ERROR}",
        _table(
            found,
            titles,
            number,
            lambda one: [one.alignments[title].mean() for title in titles],
        ),
    )


def _recognised(found: Findings) -> Iterator[Section]:
    config = found.config
    told = (
        f"{found.judge}, which made none of these images"
        if found.judge
        else "nobody else, as no --judge was given"
    )
    titles = [
        f"{who}, L2 {eps}" for eps in config.moved_radii for who in _judges(found)
    ]
    yield Section(
        "Moved images, recognised",
        f"{_drawn(found, config.pag_moved)} were moved by each model's gradients "
        f"towards every class, within {_radii(found)}. The share that is taken for the "
        "class it was moved to, by the model itself, which is how far the search came, "
        f"and by {told}. A class that was seen in the image before does not count. "
        "Any network is led by its own gradients; what another sees too was not its "
        "weakness alone. +- is one standard error over images.",
        _table(found, titles, percent, _shares),
    )


def _by_class(found: Findings) -> Iterator[Section]:
    first = found.config.moved_radii[0]
    columns = [Column("class", numeric=False)]
    parts: list[list[Any]] = [list(found.class_names)]
    for name, one in found.models.items():
        for title, alignment in one.alignments.items():
            columns.append(Column(f"{name}, {title}", number))
            parts.append(_cells(alignment.by_class()))
        if one.judged:
            columns.append(Column(f"{name}, judge, L2 {first}", percent))
            parts.append(_cells(one.judged[first].by_class()))
    yield Section(
        "Class by class",
        "The cosines and what the judge recognises at the smallest radius, for each "
        f"class that a gradient is of. {_ERROR}",
        Table(columns, list(zip(*parts, strict=True))),
    )


def _panel(found: Findings) -> Iterator[Section]:
    radius = found.config.moved_radii[-1]
    names = found.class_names
    some = f" The first {_MOST_COLUMNS} classes." if len(names) > _MOST_COLUMNS else ""
    yield Section(
        "Moved images",
        "As Figures 1, 4 and 5 of the paper: on the left the original, then the image "
        "after it has followed a model's gradients towards each class, within L2 "
        f"{radius}.{some}",
        draw=functools.partial(_draw_panel, found),
        figure_name="towards_classes",
        figure_text="Test images, and below each class what they became under each "
        "model.",
        wide=True,
    )


def _masking(found: Findings) -> Iterator[Section]:
    if not _any(found).masking:
        return
    config = found.config
    for norm, eps in radii(config).items():
        tables = {name: one.masking[norm].table() for name, one in found.models.items()}
        columns = [Column(name, percent) for name in tables]
        parts = [_cells([left for _, left in rows]) for rows in tables.values()]
        titles = [title for title, _ in next(iter(tables.values()))]
        yield Section(
            f"Accuracy under several attacks, {norm} {eps:g}",
            "What attacks of different kinds leave of the first "
            f"{config.masking_examples} of the attacked images: PGD of {config.steps} "
            f"steps, one step of FGSM, PGD from {config.masking_restarts} starts on the"
            " margin and on the difference of logits ratio, and a random search of "
            f"{config.masking_queries} queries, which needs no gradient; then PGD at "
            f"larger radii, up to that of all images there are. {_ERROR}",
            Table(
                [Column("attack", numeric=False), *columns],
                list(zip(titles, *parts, strict=True)),
            ),
        )
    yield Section(
        "Signs of masked gradients",
        "Each would say that the accuracy under PGD flatters the model. That none was "
        "seen is no proof of robustness.",
        _sign_table(found),
    )


def _sign_table(found: Findings) -> Table:
    rows = [
        [f"{name}, {norm}", title.replace("_", " "), "yes" if seen else "no", reason]
        for name, one in found.models.items()
        for norm, report in one.masking.items()
        for title, (seen, reason) in report.signs.items()
    ]
    heads = ("model", "sign", "seen", "because")
    return Table([Column(head, numeric=False) for head in heads], rows)


def _table(found: Findings, titles: Sequence[str], form: Form, cells: Any) -> Table:
    """One row for each model, one column for each title."""
    return Table(
        [Column("model", numeric=False), *(Column(title, form) for title in titles)],
        [[name, *_cells(cells(one))] for name, one in found.models.items()],
    )


def _cells(estimates: Sequence[Estimate]) -> list[Any]:
    return [cell_of(pair(estimate)) for estimate in estimates]


def _shares(one: Measured) -> list[Estimate]:
    """Of each radius the model's own share, and the judge's if there is one."""
    return [
        seen[eps].mean() for eps in one.itself for seen in (one.itself, one.judged)
        if seen
    ]  # fmt: skip


def _judges(found: Findings) -> list[str]:
    return ["itself", "judge"] if found.judge else ["itself"]


def _draw_panel(found: Findings) -> Figure:
    count = len(_any(found).shown)
    names = found.class_names[:_MOST_COLUMNS]
    moved = {name: one.shown[:, : len(names)] for name, one in found.models.items()}
    return viz.towards_classes(pixels_of(found.moved)[:count], moved, names)


def _any(found: Findings) -> Measured:
    return next(iter(found.models.values()))


def _attack(found: Findings) -> str:
    config = found.config
    starts = (
        "a random start"
        if config.restarts == 1
        else f"each of {config.restarts} random starts"
    )
    return f"PGD of {config.steps} steps of 2 eps / {config.steps} from {starts}"


def _drawn(found: Findings, count: int) -> str:
    return f"{count} test images drawn with seed {found.config.seed}"


def _radii(found: Findings) -> str:
    return "L2 radii of " + ", ".join(map(str, found.config.moved_radii))
