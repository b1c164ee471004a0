"""Success against distortion: the operating characteristics of attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from tfrobust.viz.style import color_of, frame, legend_below, width_of

Curve = tuple[Sequence[float], Sequence[float]]

# Told apart without colour as well.
_STYLES = ("-", "--", "-.", ":", (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))


def operating_characteristics(
    curves: Mapping[str, Curve], norm: str = "L2", limit: float | None = None
) -> Figure:
    """One step curve an attack: the share of images fooled within each distortion.

    As Figures 2 and 3 of "Smooth Adversarial Examples". The higher and the farther
    left, the stronger the attack. Curves start at 0 and go on level to the right edge,
    where they read the probability of success.

    Args:
        curves: `{name: (distortions, shares)}`, S numbers each: distortions that rise
            strictly, and the share in [0, 1] from each to the next; see
            `tfrobust.analysis.Characteristic.curve`.
        norm: What distortion is measured in, for the axis.
        limit: Distortion at the right edge; a little beyond the largest if `None`.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there are no curves, the sequences of one differ in length, or
            its distortions do not rise.

    Example:
        >>> from tfrobust import viz
        >>> curves = {"FGSM": ([0, 1, 3], [0, 0.5, 0.8]), "PGD": ([0, 1], [0, 1])}
        >>> viz.operating_characteristics(curves).axes[0].get_xlabel()
        'distortion D, L2'
    """
    if not curves:
        raise ValueError("`curves` must hold at least one attack. Received: none")
    for name, (distortions, shares) in curves.items():
        _check(name, distortions, shares)
    if limit is None:
        largest = max((max(d) for d, _ in curves.values() if len(d)), default=0.0)
        limit = 1.05 * largest or 1.0
    figure = Figure(figsize=(5.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for index, (name, (distortions, shares)) in enumerate(curves.items()):
        end = max(limit, distortions[-1]) if len(distortions) else limit
        last = shares[-1] if len(shares) else 0.0
        axes.plot(
            [0.0, *distortions, end],
            [100 * share for share in (0.0, *shares, last)],
            drawstyle="steps-post",
            color=color_of(index),
            linestyle=_STYLES[index % len(_STYLES)],
            linewidth=width_of(index, first=2.6),
            label=name,
        )
    axes.set_xlim(0, limit)
    axes.set_ylim(0, 102)
    axes.set_xlabel(f"distortion D, {norm}")
    axes.set_ylabel("images fooled within D, %")
    frame(axes)
    legend_below(figure, ncols=3, handlelength=4)
    return figure


def _check(name: str, distortions: Sequence[float], shares: Sequence[float]) -> None:
    if len(distortions) != len(shares):
        raise ValueError(
            "`curves` must hold sequences of one length. Received: lengths "
            f"{[len(distortions), len(shares)]} for {name!r}"
        )
    if len(distortions) and not (
        distortions[0] >= 0 and np.all(np.diff(distortions) > 0)
    ):
        raise ValueError(
            "`curves` must hold distortions that rise from 0 or more. "
            f"Received: others for {name!r}"
        )
