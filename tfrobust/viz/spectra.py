"""Spectra of images, and what a network makes of parts of the spectrum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfrobust.viz.style import band, color_of, frame, legend_below, marker_of, width_of

Curve = tuple[Sequence[float], Sequence[float], Sequence[float]]

_STYLES = ("-", "--", "-.", ":")


def amplitude_spectra(
    spectra: Mapping[str, Any], differences: Mapping[str, Any] | None = None
) -> Figure:
    """Mean log-amplitude spectra beside each other, and their differences.

    As Figure 2 of "Dissecting Local Properties of Adversarial Examples". Low
    frequencies are in the centre, and both axes are frequency over half the image's
    size: the distance from the centre is the scale. All spectra share one scale of
    colours, and so do all differences, whose 0 is white.

    Args:
        spectra: `{title: values}`, from `tfrobust.analysis.log_amplitude`; values float
            `[H,W]`.
        differences: The same from `tfrobust.analysis.log_amplitude_difference`.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there is nothing to show, or an array is not of rank 2.

    Example:
        >>> import numpy as np
        >>> from tfrobust import viz
        >>> flat = np.zeros((8, 8), "float32")
        >>> figure = viz.amplitude_spectra({"natural": flat}, {"change": flat})
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['natural', 'change']
    """
    groups = [_checked("spectra", spectra), _checked("differences", differences or {})]
    count = sum(len(group) for group in groups)
    if not count:
        raise ValueError("`spectra` must hold at least one. Received: none")
    figure = Figure(figsize=(2.4 * count + 1.0, 2.7), layout="constrained")
    row = figure.subplots(1, count, squeeze=False)[0]
    split = len(groups[0])
    if groups[0]:
        low = min(float(values.min()) for values in groups[0].values())
        high = max(float(values.max()) for values in groups[0].values())
        _show_group(figure, row[:split], groups[0], "viridis", low, high)
    if groups[1]:
        # No difference anywhere still needs two ends.
        end = max(float(np.abs(values).max()) for values in groups[1].values()) or 1.0
        _show_group(figure, row[split:], groups[1], "RdBu_r", -end, end)
    return figure


def accuracy_over_scale(
    panels: Mapping[str, Mapping[str, Curve]], shown: str = "scale"
) -> Figure:
    """A panel a network, a curve a kind of images: accuracy against the threshold.

    As Figures 1 and 6 of "Dissecting Local Properties of Adversarial Examples". Bands
    are one standard error. All panels share their axes; a dotted line marks the scale
    1, the finest stripes along an axis.

    Args:
        panels: `{network: {images: (scales, accuracy, standard error)}}`, S numbers
            each; see `tfrobust.analysis.AccuracyCurve.points`. Accuracy and its error
            are in [0, 1]; NaN leaves a gap.
        shown: What the threshold is, for the axis.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there are no curves, or the sequences of one differ in length.

    Example:
        >>> from tfrobust import viz
        >>> curve = ([0.0, 0.7, 1.4], [0.1, 0.6, 0.9], [0.01, 0.02, 0.02])
        >>> figure = viz.accuracy_over_scale({"standard": {"natural": curve}})
        >>> figure.axes[0].get_title(), figure.axes[0].get_ylabel()
        ('standard', 'accuracy, %')
    """
    if not panels or not any(panels.values()):
        raise ValueError("`panels` must hold at least one curve. Received: none")
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    size = (3.6 * len(panels) + 0.6, 3.4)
    figure = Figure(figsize=size, layout="constrained")
    row = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, curves) in zip(row, panels.items(), strict=True):
        axes.set_title(title, fontsize=10)
        axes.axvline(1.0, color="0.6", linestyle=":", linewidth=1)
        for name, curve in curves.items():
            _draw(axes, title, name, curve, names.index(name))
        axes.set_xlim(0, math.sqrt(2))
        axes.set_ylim(0, 102)
        axes.set_xlabel(shown)
        frame(axes)
    row[0].set_ylabel("accuracy, %")
    # A curve may be missing from a panel: the legend has each name once.
    handles: dict[Any, Any] = {}
    for axes in row:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    kept = [handles[name] for name in names]
    legend_below(figure, kept, names, ncols=min(4, len(names)))
    return figure


def _draw(axes: Axes, title: str, name: str, curve: Curve, place: int) -> None:
    """One curve, of the same colour and stroke in every panel."""
    lengths = [len(part) for part in curve]
    if len(set(lengths)) != 1:
        raise ValueError(
            "`panels` must hold sequences of one length. "
            f"Received: lengths {lengths} for {name!r} of {title!r}"
        )
    scales, accuracy, error = (np.asarray(part, np.float64) for part in curve)
    color = color_of(place)
    axes.plot(
        scales,
        100 * accuracy,
        color=color,
        linestyle=_STYLES[place % len(_STYLES)],
        marker=marker_of(place),
        markersize=3,
        linewidth=width_of(place, first=2.2, step=0.3),
        label=name,
    )
    low, high = 100 * (accuracy - error), 100 * (accuracy + error)
    band(axes, scales, low, high, color)


def _show_group(
    figure: Figure,
    row: np.ndarray,
    group: Mapping[str, np.ndarray],
    colors: str,
    low: float,
    high: float,
) -> None:
    for axes, (title, values) in zip(row, group.items(), strict=True):
        height, width = values.shape
        shown = axes.imshow(
            values,
            cmap=colors,
            vmin=low,
            vmax=high,
            extent=(*_edges(width), *_edges(height)[::-1]),
            aspect=1.0,
            interpolation="nearest",
        )
        axes.set_title(title, fontsize=9)
        axes.set_xticks([-0.5, 0, 0.5])
        axes.set_yticks([-0.5, 0, 0.5])
        axes.tick_params(labelsize=7)
    bar = figure.colorbar(shown, ax=row, shrink=0.8, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)


def _edges(size: int) -> tuple[float, float]:
    """Outer edges of the first and the last frequency, the mean's centre at 0."""
    first = -(size // 2)
    return (2 * first - 1) / size, (2 * (first + size) - 1) / size


def _checked(name: str, group: Mapping[str, Any]) -> dict[str, np.ndarray]:
    arrays = {title: np.asarray(values, np.float64) for title, values in group.items()}
    for title, values in arrays.items():
        if values.ndim != 2 or not values.size:
            raise ValueError(
                f"`{name}` must hold arrays of shape [H, W]. "
                f"Received: shape={values.shape} for {title!r}"
            )
    return arrays
