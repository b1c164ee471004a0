"""Figures of the dissect suite, from the results of its measurer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from tfrobust import analysis, viz
from trainers.suites.dissect.measure import Measurer

Curves = Mapping[str, Mapping[str, analysis.AccuracyCurve]]
"""Accuracy over the scale, by model and by what was filtered or swapped."""


def accuracy(curves: Curves, shown: str) -> Figure:
    """Accuracy over the scale, a panel a model.

    Args:
        curves: What is drawn.
        shown: What the scale says of the frequencies.
    """
    panels = {
        model: {what: curve.points() for what, curve in by_name.items()}
        for model, by_name in curves.items()
    }
    return viz.accuracy_over_scale(panels, shown)


def spectra(about: Measurer) -> Figure:
    """The natural spectrum, and by how much the first attack raises it on each model.

    Args:
        about: The measurer.
    """
    differences = {name: own.difference for name, own in about.results.items()}
    return viz.amplitude_spectra({"natural": about.natural}, differences)


def panels(about: Measurer, title: str, shown: Mapping[str, np.ndarray]) -> Figure:
    """Images before and after an attack, and the change between them.

    Args:
        about: The measurer.
        title: Title of the attack.
        shown: Which images of each model.
    """
    # Side by side what the models' attacks made of one image, if it is the same.
    order = sorted(
        (place, number, row, model)
        for number, (model, rows) in enumerate(shown.items())
        for place, row in enumerate(rows)
    )
    names = [model for *_, model in order]
    before = about.pixels[[row for _, _, row, _ in order]]
    after = np.stack(
        [
            about.results[model].attacked[title].adversarial[row]
            for _, _, row, model in order
        ]
    )
    threat = about.attacks[title].threat
    within = threat.eps if threat.norm == "inf" else None
    eps = within or float(np.abs(after - before).max())
    return viz.perturbation_panels(before, after, eps, names)


def responses(about: Measurer) -> Figure:
    """Differences over the layers, a column a model.

    Args:
        about: The measurer.
    """
    panels: dict[str, dict[str, analysis.LocalResponse]] = {}
    for model, own in about.results.items():
        main = own.main
        if main.response is None:
            continue
        groups = {
            group: main.response.select(chosen) for group, chosen in main.groups.items()
        }
        for source, (counted, response) in own.transferred.items():
            if response is not None:
                groups[f"from {source}"] = response.select(counted)
        panels[model] = groups
    return viz.local_responses(panels)


def epochs(about: Measurer, runs: Sequence[str]) -> Figure:
    """Differences of each layer over the epochs, a column a run.

    Args:
        about: The measurer.
        runs: Names of runs whose networks share their layers.
    """
    return viz.local_responses_over_epochs(
        {
            run: {
                epoch: measured.response.select(measured.broken)
                for epoch, measured in about.epochs[run].items()
                if measured.response is not None
            }
            for run in runs
        }
    )
