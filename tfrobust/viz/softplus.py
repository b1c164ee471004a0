"""Softplus beside its centred form, for several beta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfrobust.viz.style import color_of, frame, legend_below, width_of

_TITLES = ("softplus", "centered softplus")


def softplus_curves(x: Any, curves: Mapping[float, tuple[Any, Any]]) -> Figure:
    """Two panels, softplus and centered softplus, with a curve for each beta.

    Softplus is shifted upwards by `log(2) / beta`, the further the softer it is; the
    centered one passes through the origin at every beta.

    Args:
        x: `[S]`, where the activations were evaluated, rising.
        curves: `{beta: (softplus, centered softplus)}`, `[S]` each; see
            `tfrobust.layers.centered_softplus`.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there are no curves, or one is not as long as `x`.

    Reference: Srinivas et al. 2022 (LCNN), Figure 1(c).

    Example:
        >>> import numpy as np
        >>> from tfrobust import viz
        >>> x = np.linspace(-1, 1, 5)
        >>> plain = np.log1p(np.exp(x))
        >>> figure = viz.softplus_curves(x, {1.0: (plain, plain - np.log(2))})
        >>> [axes.get_title() for axes in figure.axes]
        ['softplus', 'centered softplus']
    """
    x = np.asarray(x)
    if not curves:
        raise ValueError("`curves` must hold at least one beta. Received: none")
    for beta, pair in curves.items():
        lengths = [len(values) for values in pair]
        if lengths != [len(x), len(x)]:
            raise ValueError(
                f"`curves` must hold two curves of {len(x)} numbers for each beta. "
                f"Received: lengths {lengths} for {beta:g}"
            )
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    row = figure.subplots(1, 2, sharex=True, sharey=True)
    for place, (axes, title) in enumerate(zip(row, _TITLES, strict=True)):
        for index, (beta, pair) in enumerate(curves.items()):
            axes.plot(
                x,
                pair[place],
                color=color_of(index),
                linewidth=width_of(index),
                label=f"beta = {beta:g}",
            )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("x")
        frame(axes)
    handles, labels = row[0].get_legend_handles_labels()
    legend_below(figure, handles, labels, ncols=min(4, len(curves)))
    return figure
