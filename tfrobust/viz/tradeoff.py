"""Accuracy against what it is paid with: sharp activations, or curvature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from tfrobust.viz.style import color_of, frame

# A strength, the curvature and the accuracy that it leads to, each with its error.
Point = tuple[str, tuple[float, float], tuple[float, float]]


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
        color = color_of(index)
        if beta is None:
            axes.axhline(100 * accuracy, color=color, linestyle="--", label=name)
            continue
        axes.errorbar(
            beta,
            100 * accuracy,
            100 * error,
            color=color,
            marker="o",
            linestyle="none",
            capsize=3,
            label=name,
        )
    _finish(axes, "mean beta")
    return figure


def accuracy_against_curvature(
    curves: Mapping[str, Sequence[Point]],
) -> Figure:
    """One curve a method, one point a strength, with both errors.

    Args:
        curves: `{method: [(strength, (curvature, its error), (accuracy, its error))]}`,
            accuracy in [0, 1]. Points are joined in the order of their curvature.

    Returns:
        A matplotlib figure; curvature on a logarithmic axis.

    Raises:
        ValueError: If there are no points.

    Example:
        >>> from tfrobust import viz
        >>> curves = {"LCNN": [("1e-3", (6.0, 0.5), (0.64, 0.005))]}
        >>> viz.accuracy_against_curvature(curves).axes[0].get_xlabel()
        'mean curvature'
    """
    if not any(curves.values()):
        raise ValueError("`curves` must hold at least one point. Received: none")
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for index, (method, points) in enumerate(curves.items()):
        names, x, y = zip(*sorted(points, key=lambda point: point[1]), strict=True)
        curvatures, x_errors = zip(*x, strict=True)
        accuracies, y_errors = zip(*y, strict=True)
        axes.errorbar(
            curvatures,
            [100 * value for value in accuracies],
            [100 * value for value in y_errors],
            x_errors,
            color=color_of(index),
            marker="o",
            capsize=3,
            label=method,
        )
        for name, place, height in zip(names, curvatures, accuracies, strict=True):
            axes.annotate(
                name,
                (place, 100 * height),
                (4, 4),
                textcoords="offset points",
                fontsize=7,
            )
    _finish(axes, "mean curvature")
    return figure


def _finish(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
    axes.set_ylabel("test accuracy, %")
    frame(axes)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
