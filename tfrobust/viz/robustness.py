"""What is left of the accuracy as an attack may go further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from tfrobust.viz.style import color_of, frame, legend_below, marker_of, width_of

Curve = tuple[Sequence[float], Sequence[float], Sequence[float]]


def accuracy_over_eps(
    curves: Mapping[str, Curve],
    norm: str = "L2",
    points: Mapping[str, tuple[float, float, float]] | None = None,
) -> Figure:
    """One curve a network: accuracy under attack against the radius of the attack.

    Args:
        curves: `{name: (eps, accuracy, standard error)}`, E numbers each, accuracy and
            its error in [0, 1]. Start at eps 0 to show the clean accuracy.
        norm: What eps is measured in, for the axis.
        points: `{name: (eps, accuracy, standard error)}`, single measurements, each a
            star; in the colour of the curve at the same place, counted from the first.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there are no curves, or the sequences of one differ in length.

    Example:
        >>> from tfrobust import viz
        >>> curve = ([0, 0.1, 0.2], [0.9, 0.6, 0.3], [0.01, 0.02, 0.02])
        >>> viz.accuracy_over_eps({"plain": curve}).axes[0].get_xlabel()
        'eps, L2'
    """
    if not curves:
        raise ValueError("`curves` must hold at least one network. Received: none")
    figure = Figure(figsize=(5.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for index, (name, (eps, accuracy, error)) in enumerate(curves.items()):
        if not len(eps) == len(accuracy) == len(error):
            raise ValueError(
                "`curves` must hold sequences of one length. Received: lengths "
                f"{[len(eps), len(accuracy), len(error)]} for {name!r}"
            )
        axes.errorbar(
            eps,
            [100 * value for value in accuracy],
            [100 * value for value in error],
            color=color_of(index),
            marker=marker_of(index),
            markersize=4,
            capsize=3,
            linewidth=width_of(index),
            label=name,
        )
    for index, (name, (radius, share, spread)) in enumerate((points or {}).items()):
        axes.errorbar(
            [radius],
            [100 * share],
            [100 * spread],
            color=color_of(index),
            marker="*",
            markersize=15,
            markeredgecolor="white",
            capsize=3,
            linestyle="none",
            label=name,
            zorder=3,
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"eps, {norm}")
    axes.set_ylabel("accuracy under attack, %")
    frame(axes)
    legend_below(figure, ncols=2)
    return figure
