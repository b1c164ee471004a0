"""The smooth suite's findings for programs: a dictionary, and tables of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrobust.analysis.transfer import Transfer
from tfrobust.cli.tables import Column, Table
from tfrobust.core.estimates import Estimate
from trainers.suites.parts import at, pair, stated, table_of_means
from trainers.suites.smooth.attacks import norm_of
from trainers.suites.smooth.measure import FILTERED, Findings, Measured, Tried

LARGEST = "largest radius"


def results(found: Findings) -> dict[str, dict[str, Any]]:
    """All means with their standard errors and settings, by model, ready for JSON."""
    return {name: _result(one) for name, one in found.models.items()}


def _result(one: Measured) -> dict[str, Any]:
    return {
        "accuracy": {"images": len(one.clean_correct), **_stated(one.accuracy())},
        "images": len(one.sample.index),
        "skipped": one.skipped,
        "attacks": {name: _tried(tried) for name, tried in one.tried.items()},
        "attacks_largest": {name: _tried(tried) for name, tried in one.largest.items()},
        "budgets": [
            {
                "attack": name,
                "searches": budget.searches,
                "steps": budget.steps,
                **_tried(tried),
            }
            for (name, budget), tried in one.budgets.items()
        ],
        "transfer": _transfers(one.transfers),
        "transfer_largest": _transfers(one.transfers_largest),
    }


def _stated(estimate: Estimate) -> dict[str, float | None]:
    return stated(pair(estimate))


def _tried(tried: Tried) -> dict[str, Any]:
    trial = tried.trial
    return {
        "norm": norm_of(trial),
        "radii": list(trial.radii),
        "gradients": trial.gradients,
        "gradients_exact": trial.exact,
        "seconds_per_image": tried.seconds,
        **{name: _stated(value) for name, value in tried.estimates().items()},
    }


def _transfers(transfers: dict[str, Transfer]) -> dict[str, Any]:
    return {
        target: {
            "clean_accuracy": _stated(one.clean_accuracy()),
            "attacks": {
                attack: {
                    "images": int(one.counted(attack).sum()),
                    "clean_accuracy": _stated(one.clean_accuracy(attack)),
                    **_stated(one.rate(attack)),
                }
                for attack in one.fooled
            },
        }
        for target, one in transfers.items()
    }


_MEANS = (
    "success",
    "distortion",
    "success_rounded",
    "distortion_rounded",
    "roughness",
)
_CONDITIONAL = {
    "distortion": "success",
    "distortion_rounded": "success_rounded",
    "roughness": "success",
}
"""Means over successes, and which."""


def long_table(found: Findings) -> Table:
    """One line for each mean; `images` is how many it was taken over."""
    return table_of_means(results(found), _lines)


def _lines(result: dict[str, Any]) -> Iterator[list[Any]]:
    clean, images = result["accuracy"], result["images"]
    yield ["accuracy", "clean", clean["images"], clean["mean"], clean["standard_error"]]
    for name, entry in _settings(result):
        for key in _MEANS:
            value = entry[key]
            share = entry[_CONDITIONAL[key]]["mean"] if key in _CONDITIONAL else 1.0
            counted = round(share * images)
            yield [key, name, counted, value["mean"], value["standard_error"]]
        yield ["gradients", name, images, entry["gradients"], None]
        yield ["seconds_per_image", name, images, entry["seconds_per_image"], None]
    for key, ending in (("transfer", ""), ("transfer_largest", f", {LARGEST}")):
        for target, told in result[key].items():
            for attack, entry in told["attacks"].items():
                setting = f"{attack}{ending} to {target}"
                value = (entry["images"], entry["mean"], entry["standard_error"])
                yield ["transfer", setting, *value]


def _settings(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every attack that was run, and what it is called."""
    yield from result["attacks"].items()
    for name, entry in result["attacks_largest"].items():
        yield f"{name}, {LARGEST}", entry
    for entry in result["budgets"]:
        yield f"{entry['attack']}, {entry['searches']}x{entry['steps']}", entry


def per_example(found: Findings) -> Table:
    """One line for each model and image; columns of other models' are empty."""
    parts = [
        (name, one, dict(_columns(one)), len(one.sample.index))
        for name, one in found.models.items()
    ]
    # In order of appearance; a model is no target of its own.
    titles = list(dict.fromkeys(title for part in parts for title in part[2]))
    empty = np.zeros([0])
    rows = [
        [name, int(one.sample.index[row]), int(one.sample.images.labels[row])]
        + [at(columns.get(title, empty), row) for title in titles]
        for name, one, columns, count in parts
        for row in range(count)
    ]
    heads = ["model", "index", "label", *titles]
    return Table([Column(title) for title in heads], rows)


def _columns(one: Measured) -> Iterator[tuple[str, np.ndarray]]:
    for name, tried in one.tried.items():
        yield from _tried_columns(name, tried)
    for name, tried in one.largest.items():
        yield from _tried_columns(f"{name}, {LARGEST}", tried)
    for (name, budget), tried in one.budgets.items():
        yield from _tried_columns(f"{name}, {budget}", tried)
    # First what every model has.
    for target in sorted(one.transfers, key=lambda target: target != FILTERED):
        yield f"correct by {target}", one.transfers[target].clean_correct
        for attack, fooled in one.transfers[target].fooled.items():
            yield f"{attack} fools {target}", fooled
        for attack, fooled in one.transfers_largest[target].fooled.items():
            yield f"{attack}, {LARGEST} fools {target}", fooled


def _tried_columns(name: str, tried: Tried) -> Iterator[tuple[str, np.ndarray]]:
    yield f"success of {name}", np.asarray(tried.result.success)
    yield f"distortion of {name}", np.asarray(tried.result.distortion)
    yield f"roughness of {name}", tried.roughness
    yield f"success rounded of {name}", np.asarray(tried.rounded.success_rounded)
    distortion = np.asarray(tried.rounded.distortion_rounded)
    yield f"distortion rounded of {name}", distortion
