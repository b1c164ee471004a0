"""What figures have in common: how axes, curves and images look."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend

_MARKERS = "os^Dv"


def frame(axes: Axes) -> None:
    """A pale grid, and no line above or on the right.

    Args:
        axes: Of curves.

    Example:
        >>> axes = Figure().subplots()
        >>> frame(axes)
        >>> bool(axes.spines["top"].get_visible())
        False
    """
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def bare(axes: Axes) -> Axes:
    """No ticks and no lines around.

    Args:
        axes: Of an image.

    Returns:
        The same axes.

    Example:
        >>> len(bare(Figure().subplots()).get_xticks())
        0
    """
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def show_image(axes: Axes, image: Any, interpolation: str | None = None) -> None:
    """An image in its own colours, or in greys where it has one channel; clipped.

    Args:
        axes: Where to.
        image: Float `[H,W,C]` with one or three channels, meant to lie in [0, 1].
        interpolation: As for `Axes.imshow`.

    Example:
        >>> axes = Figure().subplots()
        >>> show_image(axes, np.zeros((2, 3, 1)))
        >>> axes.images[0].get_array().shape
        (2, 3)
    """
    shown = np.clip(np.asarray(image), 0, 1)
    # Colours and limits apply to single-channel images only.
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation=interpolation)


def color_of(place: int) -> str:
    """The colour of the curve at a place, from 0; ten in turn.

    Args:
        place: Of the curve among others.

    Example:
        >>> color_of(0), color_of(12)
        ('C0', 'C2')
    """
    return f"C{place % 10}"


def marker_of(place: int) -> str:
    """The marker of the curve at a place, which tells it apart without colour.

    Args:
        place: Of the curve among others.

    Example:
        >>> marker_of(1), marker_of(5)
        ('s', 'o')
    """
    return _MARKERS[place % len(_MARKERS)]


def width_of(place: int, first: float = 2.4, step: float = 0.4) -> float:
    """The width of the curve at a place.

    Thinner and thinner: a curve under another can be seen.

    Args:
        place: Of the curve among others.
        first: Width of the first curve.
        step: By how much each is thinner than the one before.

    Example:
        >>> width_of(0), width_of(1), width_of(9)
        (2.4, 2.0, 1.2)
    """
    return max(1.2, first - step * place)


def band(axes: Axes, x: Any, low: Any, high: Any, color: str) -> None:
    """The pale band of an error around a curve.

    Args:
        axes: Where to.
        x: `[S]`.
        low: `[S]`, the lower edge.
        high: `[S]`, the upper edge.
        color: Of the curve.

    Example:
        >>> axes = Figure().subplots()
        >>> band(axes, [0, 1], [0, 1], [1, 2], "C0")
        >>> len(axes.collections)
        1
    """
    axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


def legend_below(figure: Figure, *entries: Any, **settings: Any) -> Legend:
    """A legend below all axes of a figure, without a frame.

    Args:
        figure: With a constrained layout.
        *entries: Handles and labels; those of the axes if left out.
        **settings: As for `Figure.legend`.

    Example:
        >>> figure = Figure(layout="constrained")
        >>> line = figure.subplots().plot([0, 1], label="a")
        >>> bool(legend_below(figure).get_frame_on())
        False
    """
    look = {"loc": "outside lower center", "frameon": False, "fontsize": 9}
    return figure.legend(*entries, **{**look, **settings})
