"""How a training run went, in one figure."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfrobust.viz.style import frame


def training_curves(rows: Sequence[dict[str, float]]) -> Figure:
    """Loss, accuracy, gradient norm, and every beta and gamma, over the epochs.

    Args:
        rows: One dictionary an epoch, as in `metrics.csv`; see
            `tfrobust.training.read_table`. Panels without data are left out.

    Returns:
        A matplotlib figure, one panel a quantity.

    Raises:
        ValueError: If there are no rows, or nothing in them to draw.

    Example:
        >>> from tfrobust import viz
        >>> rows = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
        >>> len(viz.training_curves(rows).axes)
        1
    """
    if not rows:
        raise ValueError("`rows` must hold at least one epoch. Received: 0 rows")
    panels = [panel for panel in _PANELS if any(_columns(rows, name) for name in panel)]
    if not panels:
        raise ValueError(
            "`rows` must hold a quantity of a training run, such as `loss`. "
            f"Received: columns {', '.join(rows[-1])}"
        )
    figure = Figure(figsize=(3.6 * len(panels), 3.2), layout="constrained")
    for axes, panel in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        for name in panel:
            _draw(axes, rows, name)
        axes.set_title(_TITLES.get(panel[0], panel[0]), loc="left", fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        frame(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    return figure


_PANELS = (
    ("cross_entropy", "val_cross_entropy", "loss"),
    ("accuracy", "val_accuracy", "val_robust_accuracy"),
    ("gradient_norm", "val_gradient_norm"),
    ("beta/", "beta"),
    ("gamma/", "gamma"),
)
_TITLES = {
    "cross_entropy": "loss",
    "gradient_norm": "input-gradient norm",
    "beta/": "beta, one line a layer",
    "gamma/": "gamma, one line a layer",
}
_LABELS = {
    "cross_entropy": "cross-entropy, train",
    "val_cross_entropy": "cross-entropy, test",
    "loss": "with penalties, train",
    "accuracy": "train",
    "val_accuracy": "test",
    "val_robust_accuracy": "held out, under attack",
    "gradient_norm": "train",
    "val_gradient_norm": "test",
    "beta": "mean",
    "gamma": "mean",
}


def _columns(rows: Sequence[dict[str, float]], name: str) -> list[str]:
    """The columns a name stands for: itself, or with a slash all of a family."""
    if name.endswith("/"):
        return [column for column in rows[-1] if column.startswith(name)]
    return [name] if name in rows[-1] else []


def _draw(axes: Axes, rows: Sequence[dict[str, float]], name: str) -> None:
    family = name.endswith("/")
    for column in _columns(rows, name):
        kept = [row for row in rows if column in row]
        axes.plot(
            [row["epoch"] for row in kept],
            [row[column] for row in kept],
            color="0.75" if family else None,
            linewidth=0.8 if family else 1.8,
            marker=None if family or len(rows) > 20 else "o",
            markersize=3,
            label=None if family else _LABELS[name],
        )
    if family or name in ("beta", "gamma"):
        axes.set_yscale("log")
