"""The PAG suite's findings for programs: a dictionary, and tables of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrobust import analysis
from tfrobust.cli.tables import Column, Table
from tfrobust.core.estimates import Estimate
from trainers.suites.pag.measure import NORMS, Findings, Measured
from trainers.suites.parts import at, pair, stated, table_of_means


def results(found: Findings) -> dict[str, dict[str, Any]]:
    """All means with their standard errors and settings, by model, ready for JSON."""
    return {name: _result(found, one) for name, one in found.models.items()}


def _result(found: Findings, one: Measured) -> dict[str, Any]:
    config = found.config
    return {
        "accuracy": {"images": len(one.clean_correct), **_stated(one.accuracy())},
        "attack": {
            "method": "PGD",
            "steps": config.steps,
            "restarts": config.restarts,
            "seed": config.seed,
            "images": config.examples,
            "clean_accuracy": _stated(one.attacked.accuracy()),
            "accuracy_both": _stated(one.attacked.robust_accuracy()),
            "norms": {norm: _attacked(one, norm) for norm in NORMS},
        },
        "alignment": {
            "images": config.examples,
            "directions": {
                name: _with_classes(found, alignment)
                for name, alignment in one.alignments.items()
            },
        },
        "moved": {
            "images": config.pag_moved,
            "steps": config.pag_moved_steps,
            "judge": found.judge or None,
            "radii": [
                {
                    "eps": eps.value,
                    "as_given": eps.text,
                    "itself": _with_classes(found, seen),
                    "judge": _with_classes(found, one.judged.get(eps)),
                }
                for eps, seen in one.itself.items()
            ],
        },
        "masking": {
            norm: _masking(config.masking_examples, report)
            for norm, report in one.masking.items()
        },
    }


def _stated(estimate: Estimate) -> dict[str, float | None]:
    return stated(pair(estimate))


def _attacked(one: Measured, norm: str) -> dict[str, Any]:
    return {
        "eps": one.attacked.results[norm].threat.eps,
        "accuracy": _stated(one.robust_accuracy(norm)),
        "accuracy_rounded": _stated(one.robust_accuracy(norm, rounded=True)),
    }


def _with_classes(
    found: Findings, measured: analysis.Alignment | analysis.Agreement | None
) -> dict[str, Any] | None:
    if measured is None:
        return None
    by_class = zip(found.class_names, measured.by_class(), strict=True)
    return {
        **_stated(measured.mean()),
        "by_class": {name: _stated(estimate) for name, estimate in by_class},
    }


def _masking(images: int, report: analysis.MaskingReport) -> dict[str, Any]:
    return {
        "images": images,
        "masked": report.masked,
        "accuracy": {title: _stated(left) for title, left in report.table()},
        "signs": {name: sign._asdict() for name, sign in report.signs.items()},
    }


def long_table(found: Findings) -> Table:
    """One line for each mean."""
    return table_of_means(results(found), _lines)


def _lines(result: dict[str, Any]) -> Iterator[list[Any]]:
    attack, moved = result["attack"], result["moved"]
    yield _line("accuracy", "clean", result["accuracy"]["images"], result["accuracy"])
    images = attack["images"]
    yield _line("accuracy", "unattacked", images, attack["clean_accuracy"])
    for norm, entry in attack["norms"].items():
        for quantity in ("accuracy", "accuracy_rounded"):
            yield _line(quantity, f"{norm} {entry['eps']:g}", images, entry[quantity])
    yield _line("accuracy", "both", images, attack["accuracy_both"])
    for name, entry in result["alignment"]["directions"].items():
        yield from _lines_by_class("cosine", name, images, entry)
    for entry in moved["radii"]:
        for who in ("itself", "judge"):
            if entry[who] is not None:
                setting = f"L2 {entry['as_given']}"
                quantity = f"recognised by {who}"
                yield from _lines_by_class(
                    quantity, setting, moved["images"], entry[who]
                )
    for norm, checked in result["masking"].items():
        for name, value in checked["accuracy"].items():
            setting = f"{norm}, masking, {name}"
            yield _line("accuracy", setting, checked["images"], value)


def _lines_by_class(
    quantity: str, setting: str, images: int, entry: dict[str, Any]
) -> Iterator[list[Any]]:
    yield _line(quantity, setting, images, entry)
    for name, value in entry["by_class"].items():
        yield _line(quantity, f"{setting}, {name}", images, value)


def _line(quantity: str, setting: str, images: int, value: dict[str, Any]) -> list[Any]:
    return [quantity, setting, images, value["mean"], value["standard_error"]]


def per_example(found: Findings) -> Table:
    """One line for each model and image; empty where it was not measured."""
    parts = [(name, dict(_columns(one))) for name, one in found.models.items()]
    titles = list(parts[0][1])
    sample = found.attacked
    rows = [
        [name, int(sample.index[row]), int(sample.images.labels[row])]
        + [at(columns[title], row) for title in titles]
        for name, columns in parts
        for row in range(len(sample.index))
    ]
    heads = ["model", "index", "label", *titles]
    return Table([Column(title) for title in heads], rows)


def _columns(one: Measured) -> Iterator[tuple[str, np.ndarray]]:
    yield "clean_correct", one.attacked.clean_correct
    for norm, result in one.attacked.results.items():
        yield f"success of {norm}", result.success
        yield f"distortion of {norm}", result.distortion
        yield f"success rounded of {norm}", result.success_rounded
    for name, alignment in one.alignments.items():
        for t, column in enumerate(alignment.cosines.T):
            yield f"cosine to {name} of class {t}", column
    # The images that were moved are the first of those attacked.
    for seen, who in ((one.itself, "itself"), (one.judged, "judge")):
        for eps, agreement in seen.items():
            for t, column in enumerate(_answers(agreement)):
                yield f"{who} sees class {t} at L2 {eps}", column


def _answers(agreement: analysis.Agreement) -> np.ndarray:
    """For each class 1 or 0, `None` where it does not count; `[K,N]`."""
    answers = agreement.reached().astype(object)
    answers[~np.asarray(agreement.counted)] = None
    return answers.T
