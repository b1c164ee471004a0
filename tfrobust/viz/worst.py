"""What an attack had to do to the images that withstood it longest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfrobust.viz.style import bare, show_image

Cases = tuple[Any, Any, Any]

# Blocks beside each other; one below the other they make a strip.
_ABREAST = 2
_ROWS = ("original", "adversarial", "perturbation")


def worst_cases(
    cases: Mapping[str, Cases], digits: int = 2, *, by_channel: bool = False
) -> Figure:
    """A block an attack, a column an image: original, adversarial and perturbation.

    As Figures 4 and 5 of "Smooth Adversarial Examples". The distortion stands above
    each column. A perturbation is shown on its own scale: grey is no change, black and
    white are its largest change, which stands below in levels of 8 bits.

    Args:
        cases: `{name: (images, adversarial, distortions)}`; images and adversarial
            float `[N,H,W,C]` in [0, 1] with one or three channels, distortions N
            numbers, NaN of an image that was not fooled. Which successes were the most
            distorted ones is told by `tfrobust.analysis.Characteristic.worst`. N may
            differ between attacks.
        digits: Decimals of the distortions.
        by_channel: Bring each channel of a perturbation from its least and largest
            change to 0 and 1 by itself, as Figure 4 does, in place of one scale with
            grey for no change. A channel without change is grey.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there is nothing to show, or the arrays of an attack do not fit
            each other.

    Example:
        >>> import numpy as np
        >>> from tfrobust import viz
        >>> images = np.full((2, 8, 8, 1), 0.5, "float32")
        >>> figure = viz.worst_cases({"PGD": (images, images + 0.1, [0.8, 0.8])})
        >>> [axes.get_title() for axes in figure.axes][:2]
        ['D = 0.80', 'D = 0.80']
    """
    arrays = {name: _checked(name, case) for name, case in cases.items()}
    count = max((len(images) for images, _, _ in arrays.values()), default=0)
    if not count:
        raise ValueError(
            "`cases` must hold at least one image. "
            f"Received: {len(cases)} attacks and no images"
        )
    abreast = min(_ABREAST, len(arrays))
    rows = math.ceil(len(arrays) / abreast)
    figure = Figure(figsize=(abreast * (count + 0.3), 3.5 * rows), layout="constrained")
    blocks = figure.subfigures(rows, abreast, squeeze=False).flat
    for block, (name, (images, adversarial, distortions)) in zip(
        blocks, arrays.items(), strict=False
    ):
        block.suptitle(name, fontsize=10, fontweight="bold")
        grid = block.subplots(len(_ROWS), count, squeeze=False)
        for axes in grid.flat:
            bare(axes)
        for axes, row in zip(grid[:, 0], _ROWS, strict=True):
            axes.set_ylabel(row, fontsize=8)
        for column, image, other, distortion in zip(
            grid.T, images, adversarial, distortions, strict=False
        ):
            title = f"D = {distortion:.{digits}f}"
            title = "not fooled" if math.isnan(distortion) else title
            column[0].set_title(title, fontsize=8)
            for axes, shown in zip(column, (image, other), strict=False):
                show_image(axes, shown)
            _show_change(column[2], other - image, by_channel)
    return figure


def _show_change(axes: Axes, change: np.ndarray, by_channel: bool) -> None:
    largest = float(np.abs(change).max())
    if by_channel:
        shown = _spread(change)
    else:
        shown = 0.5 + 0.5 * change / (largest or 1.0)
    show_image(axes, shown)
    axes.set_xlabel(f"up to {255 * largest:.3g}/255", fontsize=7)


def _spread(change: np.ndarray) -> np.ndarray:
    """Each channel of `[H,W,C]` from its own range to [0, 1]; 0.5 where it is flat."""
    low, high = change.min(axis=(0, 1)), change.max(axis=(0, 1))
    width = np.where(high > low, high - low, 1.0)
    return np.where(high > low, (change - low) / width, 0.5)


def _checked(name: str, case: Cases) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images, adversarial = (np.asarray(part, np.float64) for part in case[:2])
    distortions = np.asarray(case[2], np.float64)
    if images.shape != adversarial.shape or distortions.shape != images.shape[:1]:
        raise ValueError(
            "`cases` must hold images and adversarial images of one shape, and a "
            "distortion for each. Received: shapes "
            f"{[images.shape, adversarial.shape, distortions.shape]} for {name!r}"
        )
    return images, adversarial, distortions
