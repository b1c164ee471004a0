"""The LCNN suite's findings for programs: a dictionary, and tables of plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrobust.cli.tables import Column, Table
from trainers.suites.lcnn.measure import QUANTITIES, RADII, Findings, Measured, rowwise
from trainers.suites.parts import Pair, at, stated, table_of_means


def results(found: Findings) -> dict[str, dict[str, Any]]:
    """All means with their standard errors and settings, by model, ready for JSON."""
    return {name: _result(found, one) for name, one in found.models.items()}


def _result(found: Findings, one: Measured) -> dict[str, Any]:
    config = found.config
    clean = {"images": len(one.clean_correct), **stated(one.accuracy())}
    return {
        "accuracy": clean,
        "attack": {
            "method": "PGD",
            "norm": config.norm_name,
            "steps": config.steps,
            "restarts": config.restarts,
            "seed": config.seed,
            "images": config.examples,
            "clean_accuracy": stated(one.attacked_clean()),
            "accuracy": _over_eps(found, one.robust_accuracy()),
            "accuracy_rounded": _over_eps(found, one.robust_accuracy(rounded=True)),
        },
        "geometry": {
            "power_iterations": config.power_iterations,
            "images": config.geometry_examples,
            "training_images_from": one.train_sample.origin,
            "test": _stated_all(one.geometry("test")),
            "train": _stated_all(one.geometry("train")),
            "discrepancy": _stated_all(one.discrepancies()),
        },
        "gradient_stability": [
            {"radius": float(radius), **stated(pair), "bound": stated(limit)}
            for radius, pair, limit in zip(
                RADII, one.stabilities(), rowwise(one.bound), strict=True
            )
        ],
    }


def _over_eps(found: Findings, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    return [
        {"eps": eps.value, "as_given": eps.text, **stated(pair)}
        for eps, pair in zip(found.config.eps, pairs, strict=True)
    ]


def _stated_all(pairs: dict[str, Pair]) -> dict[str, Any]:
    return {name: stated(pair) for name, pair in pairs.items()}


def long_table(found: Findings) -> Table:
    """One line for each mean."""
    return table_of_means(results(found), _lines)


def _lines(result: dict[str, Any]) -> list[list[Any]]:
    attack, shape = result["attack"], result["geometry"]
    lines = [
        _line("accuracy", "clean", result["accuracy"]["images"], result["accuracy"]),
        _line("accuracy", "unattacked", attack["images"], attack["clean_accuracy"]),
    ]
    for quantity in ("accuracy", "accuracy_rounded"):
        for entry in attack[quantity]:
            setting = f"eps {entry['as_given']}"
            lines.append(_line(quantity, setting, attack["images"], entry))
    images = shape["images"]
    for part in ("test", "train", "discrepancy"):
        lines += [_line(key, part, images, value) for key, value in shape[part].items()]
    for entry in result["gradient_stability"]:
        setting = f"radius {entry['radius']:.4g}"
        lines.append(_line("gradient_stability", setting, images, entry))
        lines.append(_line("stability_bound", setting, images, entry["bound"]))
    return lines


def _line(quantity: str, setting: str, images: int, value: dict[str, Any]) -> list[Any]:
    return [quantity, setting, images, value["mean"], value["standard_error"]]


def per_example(found: Findings) -> Table:
    """One line for each image and model; empty where it was not measured."""
    titles = ["model", "split", "index", "label", "clean_correct"]
    for eps in found.config.eps:
        for what in ("success", "distortion"):
            titles += [f"{what} at eps {eps}", f"{what} rounded at eps {eps}"]
    titles += [*QUANTITIES, *(f"stability at radius {radius:.2g}" for radius in RADII)]
    rows = [
        [name, *line]
        for name, one in found.models.items()
        for line in [*_test_rows(found, one), *_train_rows(found, one)]
    ]
    return Table([Column(title) for title in titles], rows)


def _test_rows(found: Findings, one: Measured) -> list[list[Any]]:
    columns = [one.attacked.clean_correct]
    for result in one.attacked.results.values():
        columns += [result.success, result.success_rounded]
        columns += [result.distortion, result.distortion_rounded]
    columns += [getattr(one.test, key) for key in QUANTITIES]
    nothing = np.zeros([len(RADII), 0])
    columns += [*(nothing if one.stability is None else one.stability)]
    # The smaller sample is the beginning of the larger.
    both = (found.attacked, found.looked_at)
    sample = max(both, key=lambda sample: len(sample.index))
    return [
        ["test", int(index), int(label), *(at(column, row) for column in columns)]
        for row, (index, label) in enumerate(
            zip(sample.index, sample.images.labels, strict=True)
        )
    ]


def _train_rows(found: Findings, one: Measured) -> list[list[Any]]:
    sample = one.train_sample
    unattacked = [None] * (1 + 4 * len(found.config.eps))
    columns = [getattr(one.train, key) for key in QUANTITIES]
    return [
        ["train", int(index), int(label), *unattacked]
        + [at(column, row) for column in columns]
        + [None] * len(RADII)
        for row, (index, label) in enumerate(
            zip(sample.index, sample.images.labels, strict=True)
        )
    ]
