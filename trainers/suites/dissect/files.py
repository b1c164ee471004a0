"""The dissect suite's findings for programs: a dictionary, and tables of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrobust import analysis
from tfrobust.cli.tables import Column, Table
from tfrobust.core.estimates import Estimate, mean
from trainers.suites.dissect.measure import (
    Attacked,
    Findings,
    Measured,
    correlations,
    measures,
)
from trainers.suites.parts import at, pair, stated, table_of_means

_STATISTICS = ("maximum", "total", "relative")


def results(found: Findings) -> dict[str, dict[str, Any]]:
    """All means with their standard errors and settings, by model, ready for JSON.

    What the epochs of --checkpoints showed, and how the measures of all models
    correlate, stands under the first model.
    """
    told = {name: _result(found, one) for name, one in found.models.items()}
    first = next(iter(told.values()))
    first["checkpoints"] = {
        run: {str(epoch): _attacked(found, one) for epoch, one in epochs.items()}
        for run, epochs in found.runs.items()
    }
    first["rank_correlations"] = {
        name: {other: stated((value, 0.0))["mean"] for other, value in row.items()}
        for name, row in correlations(found.models.values()).items()
    }
    return told


def _result(found: Findings, one: Measured) -> dict[str, Any]:
    return {
        "accuracy": {"images": len(one.clean_correct), **_stated(one.accuracy())},
        "measures": {name: _stated(value) for name, value in measures(one).items()},
        "attacks": {
            name: _attacked(found, attacked) for name, attacked in one.attacked.items()
        },
        "filtered": [
            {"images": what, "kind": kind, **_curve(curve)}
            for (what, kind), curve in one.filtered.items()
        ],
        "swapped": [
            {"adversarial": kind, **_curve(curve)}
            for kind, curve in one.swapped.items()
        ],
        "geometry_images": len(one.geometry.curvature),
        "kernels": [
            {
                "layer": row.name,
                "size": list(row.size),
                "variation": stated((row.variation, 0.0))["mean"],
            }
            for row in one.kernels or ()
        ],
        "transferred": {
            source: {
                "images": int(moved.counted.sum()),
                **_stated(moved.rate()),
                "layers": _layers(moved.response, moved.counted),
            }
            for source, moved in one.transferred.items()
        },
    }


def _stated(estimate: Estimate) -> dict[str, float | None]:
    return stated(pair(estimate))


def _attacked(found: Findings, one: Attacked) -> dict[str, Any]:
    means = one.statistics.means(one.found)
    at_bound = means.share_at_bound if one.within_linf else mean([])
    return {
        "norm": "Linf" if one.within_linf else "L2",
        "eps": one.attack.threat.eps,
        "steps": getattr(one.attack, "steps", 1),
        "images": len(one.result.success),
        "clean_accuracy": _stated(mean(~one.result.already)),
        "accuracy": _stated(one.accuracy()),
        "found": int(one.found.sum()),
        "sign_agreement": _stated(means.sign_agreement),
        "total_variation_ratio": _stated(means.total_variation_ratio),
        "share_at_bound": _stated(at_bound),
        "high_scale": found.config.dissect_high,
        "high_frequency_share": _stated(one.high_share()),
        "layers_found": _layers(one.response, one.found),
        "layers_failed": _layers(one.response, one.failed),
    }


def _layers(
    response: analysis.LocalResponse | None, chosen: np.ndarray
) -> dict[str, dict[str, Any]]:
    if response is None:
        return {}
    return {
        row.layer: {
            "images": row.images,
            **{name: _stated(getattr(row, name)) for name in _STATISTICS},
        }
        for row in response.means(chosen)
    }


def _curve(curve: analysis.AccuracyCurve) -> dict[str, Any]:
    return {
        "scales": list(curve.scales),
        "count": curve.correct.shape[1],
        "accuracy": [_stated(point) for point in curve.accuracy],
    }


def long_table(found: Findings) -> Table:
    """One line for each mean; `images` is how many it was taken over."""
    return table_of_means(results(found), _lines)


def _lines(result: dict[str, Any]) -> Iterator[list[Any]]:
    clean = result["accuracy"]
    yield _line("accuracy", "clean", clean["images"], clean)
    for name, entry in result["attacks"].items():
        yield from _attack_lines(name, entry)
    for run, epochs in result.get("checkpoints", {}).items():
        for epoch, entry in epochs.items():
            yield from _attack_lines(f"{run}, epoch {epoch}", entry)
    for entry in result["filtered"]:
        setting = f"{entry['images']}, {entry['kind']} of"
        yield from _curve_lines("accuracy, filtered", setting, entry)
    for entry in result["swapped"]:
        setting = f"adversarial {entry['adversarial']} of"
        yield from _curve_lines("accuracy, swapped", setting, entry)
    for name in ("gradient norm", "curvature"):
        yield _line(name, "", result["geometry_images"], result["measures"][name])
    for entry in result["kernels"]:
        yield ["kernel variation", entry["layer"], None, entry["variation"], None]
    for source, entry in result["transferred"].items():
        yield _line("fooled", f"from {source}", entry["images"], entry)
        yield from _layer_lines(f"from {source}", entry["layers"])


def _attack_lines(name: str, entry: dict[str, Any]) -> Iterator[list[Any]]:
    yield _line("accuracy", f"{name}, clean", entry["images"], entry["clean_accuracy"])
    yield _line("accuracy", name, entry["images"], entry["accuracy"])
    for key in (
        "sign_agreement",
        "total_variation_ratio",
        "share_at_bound",
        "high_frequency_share",
    ):
        yield _line(key.replace("_", " "), name, entry["found"], entry[key])
    for group in ("found", "failed"):
        yield from _layer_lines(f"{name} {group}", entry[f"layers_{group}"])


def _layer_lines(
    setting: str, layers: dict[str, dict[str, Any]]
) -> Iterator[list[Any]]:
    for layer, row in layers.items():
        for name in _STATISTICS:
            yield _line(
                f"{name} difference", f"{setting}, {layer}", row["images"], row[name]
            )


def _curve_lines(
    quantity: str, setting: str, entry: dict[str, Any]
) -> Iterator[list[Any]]:
    for scale, value in zip(entry["scales"], entry["accuracy"], strict=True):
        yield _line(quantity, f"{setting} {scale:.4g}", entry["count"], value)


def _line(quantity: str, setting: str, images: int, value: dict[str, Any]) -> list[Any]:
    return [quantity, setting, images, value["mean"], value["standard_error"]]


def per_example(found: Findings) -> Table:
    """One line for each model and image; empty where it was not measured."""
    parts = [(name, dict(_columns(one))) for name, one in found.models.items()]
    # In order of appearance; a model is no source of its own.
    titles = list(dict.fromkeys(title for _, columns in parts for title in columns))
    empty = np.zeros([0])
    sample = found.sample
    rows = [
        [name, int(sample.index[row]), int(sample.images.labels[row])]
        + [_known(at(columns.get(title, empty), row)) for title in titles]
        for name, columns in parts
        for row in range(len(sample.index))
    ]
    heads = ["model", "index", "label", *titles]
    return Table([Column(title) for title in heads], rows)


def _known(value: Any) -> Any:
    """`None` for NaN, which has no place in a table."""
    return None if value != value else value


def _columns(one: Measured) -> Iterator[tuple[str, np.ndarray]]:
    yield "clean_correct", ~one.main.result.already
    for name, attacked in one.attacked.items():
        yield f"success of {name}", attacked.result.success
        yield f"distortion of {name}", attacked.result.distortion
        yield f"sign agreement of {name}", attacked.statistics.sign_agreement
        yield f"total variation of {name}", attacked.statistics.total_variation_ratio
        yield f"high-frequency share of {name}", attacked.high
        yield from _response_columns(name, attacked.response)
    # Those whose geometry was measured are the first of those attacked.
    yield "gradient norm", one.geometry.gradient_norm
    yield "curvature", one.geometry.curvature
    for source, moved in one.transferred.items():
        yield f"fooled from {source}", moved.fooled
        yield from _response_columns(f"images from {source}", moved.response)


def _response_columns(
    name: str, response: analysis.LocalResponse | None
) -> Iterator[tuple[str, np.ndarray]]:
    if response is None:
        return
    for statistic in _STATISTICS:
        columns = getattr(response, statistic).T
        for layer, column in zip(response.layers, columns, strict=True):
            yield f"{statistic} difference of {name} at {layer}", column
