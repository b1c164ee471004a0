"""Accuracy against the sharpness of the activations."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter


def accuracy_against_beta(
    points: Mapping[str, tuple[float | None, float, float]],
) -> Figure:
    """One point a network; those without a learnable beta are lines.

    Args:
        points: `{name: (mean beta or None, accuracy, standard error)}`, accuracy and
            its error in [0, 1].

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there are no points.

    Example:
        >>> from tfrobust import viz
        >>> points = {"standard": (None, 0.7, 0.01), "lcnn": (3.0, 0.69, 0.01)}
        >>> figure = viz.accuracy_against_beta(points)
        >>> figure.axes[0].get_xlabel()
        'mean beta'
    """
    if not points:
        raise ValueError("`points` must hold at least one network. Received: none")
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for index, (name, (beta, accuracy, error)) in enumerate(points.items()):
        colour = f"C{index % 10}"
        if beta is None:
            axes.axhline(100 * accuracy, color=colour, linestyle="--", label=name)
            continue
        axes.errorbar(
            beta,
            100 * accuracy,
            100 * error,
            color=colour,
            marker="o",
            linestyle="none",
            capsize=3,
            label=name,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("mean beta")
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure
