"""Correlations of several quantities, network by network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from tfrobust.core.estimates import Estimate
from tfrobust.viz.style import color_of, frame, legend_below, marker_of

# Of the distance between two quantities, what the points of one take up.
_WIDTH = 0.7


def correlations(values: Mapping[str, Mapping[str, Estimate]]) -> Figure:
    """A point a network and quantity, with twice its standard error on both sides.

    Args:
        values: `{network: {quantity: (correlation, standard error)}}`, the same
            quantities of every network; NaN leaves a point out.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there is no network, or their quantities differ.

    Example:
        >>> from tfrobust import viz
        >>> from tfrobust.core.estimates import Estimate
        >>> figure = viz.correlations({"plain": {"curvature": Estimate(-0.4, 0.05)}})
        >>> figure.axes[0].get_ylabel()
        'rank correlation'
    """
    names = list(next(iter(values.values()), {}))
    if not names or any(list(each) != names for each in values.values()):
        raise ValueError(
            "`values` must hold the same quantities of at least one network. "
            f"Received: {[list(each) for each in values.values()]}"
        )
    figure = Figure(figsize=(max(5.4, 1.7 * len(names)), 4.2), layout="constrained")
    axes = figure.subplots()
    offsets = _WIDTH * (np.arange(len(values)) + 0.5) / len(values) - _WIDTH / 2
    for index, (network, each) in enumerate(values.items()):
        axes.errorbar(
            np.arange(len(names)) + offsets[index],
            [each[name].value for name in names],
            yerr=[2.0 * each[name].standard_error for name in names],
            color=color_of(index),
            marker=marker_of(index),
            markersize=5,
            linestyle="none",
            capsize=2,
            label=network,
        )
    axes.axhline(0.0, color="0.5", linewidth=1)
    axes.set_ylim(-1.0, 1.0)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("rank correlation")
    frame(axes)
    legend_below(figure, ncols=min(4, len(values)))
    return figure
