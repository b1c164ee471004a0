"""How far adversarial examples move each layer: by network, by outcome, over epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from tfrobust.analysis.responses import LocalResponse
from tfrobust.viz.style import color_of, frame, legend_below, marker_of, width_of

# What is drawn in each row, and what the row is called.
_ROWS = {"maximum": "largest difference", "total": "sum of differences"}


class _Plain(LogFormatter):
    """Labels such as 0.2 where others would have 2e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def local_responses(panels: Mapping[str, Mapping[str, LocalResponse]]) -> Figure:
    """One column a network, one line a group of images, over the layers.

    As Tables 1 to 5 of "Dissecting Local Properties of Adversarial Examples": the upper
    row has the largest difference in a layer, the lower one their sum, each the mean
    over images with its standard error. All columns share their axes. A group has one
    colour in all of them; one without an image is named in its panel, not drawn.

    Args:
        panels: `{network: {group: response}}`, such as `"success"`, `"failure"` and
            `"transferred"` of a standard and of a robust network; see
            `tfrobust.analysis.local_response`.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there is no network or no group, or the responses of one network
            are of different layers.

    Example:
        >>> from tfrobust import viz
        >>> from tfrobust.analysis import LocalResponse
        >>> some = LocalResponse(("Conv 1", "Layer 0"), [[1.0, 2.0]], [[3.0, 9.0]])
        >>> len(viz.local_responses({"standard": {"success": some}}).axes)
        2
    """
    groups = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    _check(panels)
    figure, grid = _grid(len(panels))
    for column, (title, responses) in enumerate(panels.items()):
        layers = next(iter(responses.values())).layers
        empty = [
            f"{name}: no images" for name, one in responses.items() if not len(one)
        ]
        for axes, statistic in zip(grid[:, column], _ROWS, strict=True):
            for name, response in responses.items():
                if len(response):
                    _draw_layers(axes, response, statistic, name, groups.index(name))
            axes.set_xticks(range(len(layers)), layers, rotation=30, ha="right")
            axes.text(
                0.98,
                0.02,
                "\n".join(empty),
                ha="right",
                va="bottom",
                fontsize=8,
                color="0.35",
                transform=axes.transAxes,
            )
        grid[0, column].set_title(title, loc="left", fontsize=10)
    return _finished(figure, grid)


def local_responses_over_epochs(
    runs: Mapping[str, Mapping[float, LocalResponse]],
) -> Figure:
    """One column a run, one line a layer, over the epochs of training.

    As Figures 5 (largest) and 9 (sum) of the same paper; rows and errors as in
    `local_responses`. The darker a line, the nearer its layer is to the image.

    Args:
        runs: `{run: {epoch: response}}`; see `tfrobust.analysis.local_responses`. An
            epoch without an image is left out.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: As for `local_responses`; also if the runs differ in their layers.

    Example:
        >>> from tfrobust import viz
        >>> from tfrobust.analysis import LocalResponse
        >>> some = LocalResponse(("Conv 1", "Layer 0"), [[1.0, 2.0]], [[3.0, 9.0]])
        >>> figure = viz.local_responses_over_epochs({"standard": {1: some, 2: some}})
        >>> figure.axes[-1].get_xlabel()
        'epoch'
    """
    _check(runs)
    layers = {
        response.layers for epochs in runs.values() for response in epochs.values()
    }
    if len(layers) > 1:
        raise ValueError(
            "`runs` must have responses of the same layers. "
            f"Received: {' and '.join(', '.join(names) for names in sorted(layers))}"
        )
    figure, grid = _grid(len(runs))
    for column, (title, epochs) in enumerate(runs.items()):
        kept = {epoch: one for epoch, one in sorted(epochs.items()) if len(one)}
        for axes, statistic in zip(grid[:, column], _ROWS, strict=True):
            _draw_epochs(axes, kept, statistic, next(iter(layers)))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        grid[0, column].set_title(title, loc="left", fontsize=10)
        grid[-1, column].set_xlabel("epoch")
    return _finished(figure, grid)


def _grid(columns: int) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(1.2 + 3.2 * columns, 5.6), layout="constrained")
    grid = figure.subplots(
        len(_ROWS), columns, squeeze=False, sharex="col", sharey="row"
    )
    return figure, grid


def _draw_layers(
    axes: Axes, response: LocalResponse, statistic: str, name: str, place: int
) -> None:
    estimates = [getattr(row, statistic) for row in response.means()]
    axes.errorbar(
        range(len(estimates)),
        [mean.value for mean in estimates],
        _errors([mean.standard_error for mean in estimates]),
        color=color_of(place),
        marker=marker_of(place),
        markersize=4,
        linewidth=width_of(place),
        capsize=2,
        label=name,
    )


def _draw_epochs(
    axes: Axes,
    epochs: Mapping[float, LocalResponse],
    statistic: str,
    layers: tuple[str, ...],
) -> None:
    rows = [response.means() for response in epochs.values()]
    colors = colormaps["viridis"](np.linspace(0, 0.9, len(layers)))
    for place, layer in enumerate(layers):
        estimates = [getattr(row[place], statistic) for row in rows]
        axes.errorbar(
            list(epochs),
            [mean.value for mean in estimates],
            _errors([mean.standard_error for mean in estimates]),
            color=colors[place],
            marker=marker_of(place),
            markersize=3,
            linewidth=1.5,
            capsize=2,
            label=layer,
        )


def _errors(values: list[float]) -> np.ndarray:
    """Errors to draw: of a single image there is none."""
    return np.nan_to_num(np.asarray(values, np.float64))


def _finished(figure: Figure, grid: np.ndarray) -> Figure:
    for axes, label in zip(grid[:, 0], _ROWS.values(), strict=True):
        axes.set_ylabel(label)
    for axes in grid.ravel():
        # Images that an attack left alone move nothing, and 0 has no logarithm.
        shown = [y for line in axes.get_lines() for y in line.get_ydata()]
        if any(y > 0 for y in shown):
            axes.set_yscale("log", nonpositive="mask")
            axes.yaxis.set_major_formatter(_Plain())
            axes.yaxis.set_minor_formatter(_Plain(minor_thresholds=(2, 0.5)))
        frame(axes)
    by_name = {bars.get_label(): bars for axes in grid[0] for bars in axes.containers}
    if by_name:
        legend_below(figure, by_name.values(), by_name.keys(), ncols=3)
    return figure


def _check(columns: Mapping[str, Mapping[Any, LocalResponse]]) -> None:
    if not columns or not all(columns.values()):
        raise ValueError(
            "The figure must have a response in each of one or more columns. "
            f"Received: { {name: len(one) for name, one in columns.items()} }"
        )
    for name, responses in columns.items():
        if len({response.layers for response in responses.values()}) > 1:
            raise ValueError(
                "The responses of a column must be of the same layers. "
                f"Received: others for {name!r}"
            )
