"""Where classifiers of points in the plane draw the line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfrobust.viz.style import legend_below

_COLORS = ("#2166ac", "#b2182b")
# Both ends are pale, so that points of their colour stand out.
_SURFACE = LinearSegmentedColormap.from_list(
    "boundary", ["#86b6da", "#f7f7f7", "#f0a08a"]
)
_MARKERS = ("o", "^")


def decision_boundaries(
    panels: Mapping[str, Any],
    points: Any,
    labels: Any,
    extent: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0),
    class_names: Sequence[str] = ("class 0", "class 1"),
    axis_names: tuple[str, str] | None = None,
) -> Figure:
    """Two-class classifiers side by side: probability, decision boundary and data.

    Colour is the probability of class 1, the black line is where it is one half.

    Args:
        panels: `{title: probabilities}`, each `[R,R']`: the probability of class 1 on
            an even grid over `extent`, rows from the lowest y, columns from the lowest
            x. Ends of the grid lie on the edges of `extent`.
        points: `[N,2]`, the data to show in every panel.
        labels: `[N]` of 0 and 1, their classes.
        extent: `(x_min, x_max, y_min, y_max)` of the grids, and what is shown.
        class_names: Names of the two classes, for the legend.
        axis_names: Names of x and y, for axes with numbers. `None`: bare axes.

    Returns:
        A matplotlib figure, one panel a classifier.

    Raises:
        ValueError: If there are no panels, or a shape or value is wrong.

    Reference: Srinivas et al. 2022 (LCNN), Figure 1; Ganz et al. 2023 (PAG), Figure 3.

    Example:
        >>> import numpy as np
        >>> from tfrobust import viz
        >>> slope = np.tile(np.linspace(0, 1, 5), (5, 1))
        >>> points, labels = np.array([[0.2, 0.5], [0.8, 0.5]]), np.array([0, 1])
        >>> figure = viz.decision_boundaries({"a": slope, "b": slope.T}, points, labels)
        >>> [axes.get_title() for axes in figure.axes]
        ['a', 'b']
    """
    points, labels = _checked_points(points, labels)
    grids = {title: _checked_grid(title, grid) for title, grid in panels.items()}
    if not grids:
        raise ValueError("`panels` must hold at least one classifier. Received: none")
    height = 2.4 * (extent[3] - extent[2]) / (extent[1] - extent[0])
    wide, high = (0.0, 0.5) if axis_names is None else (0.6, 0.8)
    size = (2.4 * len(grids) + wide, height + high)
    figure = Figure(figsize=size, layout="constrained")
    row = figure.subplots(1, len(grids), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (title, grid) in zip(row, grids.items(), strict=True):
        _draw_surface(axes, grid, extent)
        _draw_points(axes, points, labels)
        axes.set_title(title, fontsize=9)
        axes.set(xlim=extent[:2], ylim=extent[2:])
        axes.set_aspect("equal")
        _name_axes(axes, axis_names, first=axes is row[0])
    legend_below(figure, handles=_legend(class_names), ncols=3, fontsize=8)
    return figure


def _checked_points(points: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    points, labels = np.asarray(points), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(
            f"`points` must have shape [N, 2]. Received: points.shape={points.shape}"
        )
    if labels.shape != points.shape[:1] or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            "`labels` must be a 0 or a 1 for each point. "
            f"Received: labels.shape={labels.shape}, values {np.unique(labels)}"
        )
    return points, labels


def _checked_grid(title: str, grid: Any) -> np.ndarray:
    grid = np.asarray(grid)
    if grid.ndim != 2 or min(grid.shape) < 2:
        raise ValueError(
            "`panels` must hold grids of at least 2 by 2 probabilities. "
            f"Received: shape {grid.shape} for {title!r}"
        )
    if not ((grid >= 0) & (grid <= 1)).all():
        raise ValueError(
            "`panels` must hold probabilities in [0, 1]. "
            f"Received: values from {grid.min()} to {grid.max()} for {title!r}"
        )
    return grid


def _name_axes(axes: Axes, names: tuple[str, str] | None, first: bool) -> None:
    """Numbers and names, that of y beside the first panel alone."""
    if names is None:
        axes.set(xticks=[], yticks=[])
        return
    axes.tick_params(labelsize=7)
    axes.set_xlabel(names[0], fontsize=8)
    if first:
        axes.set_ylabel(names[1], fontsize=8)


def _draw_surface(
    axes: Axes, grid: np.ndarray, extent: tuple[float, float, float, float]
) -> None:
    x = np.linspace(extent[0], extent[1], grid.shape[1])
    y = np.linspace(extent[2], extent[3], grid.shape[0])
    axes.contourf(x, y, grid, levels=np.linspace(0, 1, 11), cmap=_SURFACE)
    if grid.min() < 0.5 < grid.max():  # Matplotlib warns of a line that is nowhere.
        axes.contour(x, y, grid, levels=[0.5], colors="black", linewidths=1.4)


def _draw_points(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    for label, (color, marker) in enumerate(zip(_COLORS, _MARKERS, strict=True)):
        chosen = points[labels == label]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=11,
            color=color,
            marker=marker,
            edgecolors="white",
            linewidths=0.3,
        )


def _legend(class_names: Sequence[str]) -> list[Line2D]:
    marks = [
        Line2D([], [], color=color, marker=marker, linestyle="none", markersize=4)
        for color, marker in zip(_COLORS, _MARKERS, strict=True)
    ]
    for mark, name in zip(marks, class_names, strict=True):
        mark.set_label(name)
    return [*marks, Line2D([], [], color="black", label="decision boundary")]
