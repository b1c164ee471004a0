"""How fast the loss's gradient turns as the image moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from tfrobust.viz.style import band, color_of, frame, legend_below, marker_of, width_of

Curve = tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float] | None]


def gradient_stability(curves: Mapping[str, Curve]) -> Figure:
    """One curve a network: relative change of the gradient against the noise radius.

    As Figure 2 of the LCNN paper, with the theory's bound as a dashed line of the same
    colour. Both axes are logarithmic; a band shows one standard error.

    Args:
        curves: `{name: (radii, mean, standard error, bound or None)}`, R numbers each;
            see `tfrobust.geometry.gradient_stability` and `stability_bound`.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there are no curves, or the sequences of one differ in length.

    Example:
        >>> from tfrobust import viz
        >>> radii = [0.001, 0.01, 0.1]
        >>> curve = (radii, [0.01, 0.1, 0.6], [0.001, 0.01, 0.05], [0.02, 0.2, 2.0])
        >>> viz.gradient_stability({"plain": curve}).axes[0].get_yscale()
        'log'
    """
    if not curves:
        raise ValueError("`curves` must hold at least one network. Received: none")
    figure = Figure(figsize=(5.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for index, (name, (radii, mean, error, bound)) in enumerate(curves.items()):
        lengths = {
            len(part) for part in (radii, mean, error, bound) if part is not None
        }
        if len(lengths) != 1:
            raise ValueError(
                "`curves` must hold sequences of one length. Received: lengths "
                f"{sorted(lengths)} for {name!r}"
            )
        color = color_of(index)
        axes.plot(
            radii,
            mean,
            color=color,
            marker=marker_of(index),
            markersize=4,
            linewidth=width_of(index),
            label=name,
        )
        low, high = np.subtract(mean, error), np.add(mean, error)
        # A logarithmic axis has no place for what a wide error takes below zero.
        low = np.where(low > 0, low, np.multiply(mean, 0.1))
        band(axes, radii, low, high, color)
        if bound is not None:
            axes.plot(radii, bound, color=color, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("radius of the noise, L2")
    axes.set_ylabel("relative change of the gradient")
    frame(axes)
    if any(bound is not None for *_, bound in curves.values()):
        axes.plot([], [], color="0.5", linestyle="--", linewidth=1, label="bound")
    legend_below(figure, ncols=2)
    return figure
