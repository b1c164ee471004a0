"""Draws accuracy against curvature, one curve a method, from finished evaluations.

    python -m trainers.tradeoff runs/evaluation --out=tradeoff.png \
        --curve=LCNN:cifar10_lcnn=1e-3,LCNN-3e-3=3e-3 --curve=standard:cifar10_standard=

A curve is METHOD:MODEL=LABEL,MODEL=LABEL,... where MODEL is the name of a model in one
of the evaluations and LABEL what stands beside its point. Curvature and accuracy are
those that the evaluation measured on test images.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Any

from tfrobust.cli import program
from tfrobust.cli.program import UsageError
from tfrobust.cli.quiet import start_tensorflow

_Pair = tuple[float, float]


def main(arguments: argparse.Namespace) -> None:
    """Reads, draws and writes."""
    out = pathlib.Path(arguments.out)
    if out.exists() and not arguments.overwrite:
        raise UsageError(f"{out} exists already; replace it with --overwrite.")
    start_tensorflow()
    from tfrobust import viz

    models: dict[str, Any] = {}
    for folder in arguments.evaluations:
        models |= _models(pathlib.Path(folder))
    curves = dict(_curve(text, models) for text in arguments.curve)
    viz.save(viz.accuracy_against_curvature(curves), out)
    print(f"Wrote {out}")


def _models(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / "evaluation.json"
    if not path.is_file():
        raise UsageError(f"{folder} holds no finished evaluation.")
    return {model["name"]: model for model in json.loads(path.read_text())["models"]}


def _curve(
    text: str, models: dict[str, Any]
) -> tuple[str, list[tuple[str, _Pair, _Pair]]]:
    method, colon, points = text.partition(":")
    if not colon or not points:
        raise UsageError(f"--curve={text} must be METHOD:MODEL=LABEL,MODEL=LABEL.")
    return method, [_point(point, models) for point in points.split(",")]


def _point(text: str, models: dict[str, Any]) -> tuple[str, _Pair, _Pair]:
    name, _, label = text.partition("=")
    if name not in models:
        raise UsageError(
            f"--curve names {name!r}, but the evaluations are of {', '.join(models)}."
        )
    found = models[name]
    curvature = found["geometry"]["test"]["curvature"]
    return label, _pair(curvature), _pair(found["accuracy"])


def _pair(value: dict[str, float]) -> _Pair:
    return value["mean"], value["standard_error"]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("evaluations", nargs="+", metavar="EVALUATION", help="folder")
    parser.add_argument("--curve", action="append", required=True)
    parser.add_argument("--out", required=True, help="the figure to write")
    parser.add_argument("--overwrite", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main(_parse())
    except (UsageError, ValueError) as error:
        program.fail(str(error))
