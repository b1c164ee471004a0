"""Perturbations channel by channel, beside the images they were added to."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from tfrobust.settings import require_positive
from tfrobust.viz.style import bare, show_image

# An odd number of colours, so that 0 has one of its own.
_COLORS = LinearSegmentedColormap.from_list(
    "change", ["#08306b", "#4292c6", "0.8", "#ef6548", "#7f0000"], N=255
)
_CHANNELS = ("red", "green", "blue")


def perturbation_panels(
    images: Any,
    adversarial: Any,
    eps: float,
    names: Sequence[str] | None = None,
) -> Figure:
    """A row an image: natural, adversarial, and what lies between them.

    As Figures 3, 7 and 8 of "Dissecting Local Properties of Adversarial Examples": the
    overall perturbation in the image's own colours, grey where nothing changed; then
    its mean over channels and each channel, from blue at -eps over grey at 0 to red at
    +eps. A perturbation that is locally consistent makes patches, one that is not
    makes confetti. Images of one channel have one panel for their perturbation.

    Args:
        images: Float `[N,H,W,C]` in [0, 1] with one or three channels.
        adversarial: The same after an attack.
        eps: Radius of the attack in the L-infinity norm, or any change that is to have
            the full colour; larger ones have the same.
        names: N strings for the left of the rows, models or answers, say.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there is nothing to show, the arrays do not fit each other, or
            `eps` is not above 0.

    Example:
        >>> import numpy as np
        >>> from tfrobust import viz
        >>> images = np.full((1, 8, 8, 3), 0.5, "float32")
        >>> figure = viz.perturbation_panels(images, images + 0.02, eps=8 / 255)
        >>> [axes.get_title() for axes in figure.axes[:4]]
        ['natural', 'adversarial', 'overall', 'channel mean']
    """
    images, adversarial = (np.asarray(a, np.float64) for a in (images, adversarial))
    _check(images, adversarial, eps, names)
    titles = ["natural", "adversarial"]
    if images.shape[-1] == 1:
        titles.append("perturbation")
    else:
        titles += ["overall", "channel mean", *_CHANNELS]
    size = (len(titles) + 0.9, len(images) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(images), len(titles), squeeze=False)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=8)
    for row, image, other in zip(grid, images, adversarial, strict=True):
        change = other - image
        show_image(bare(row[0]), image, "nearest")
        show_image(bare(row[1]), other, "nearest")
        if images.shape[-1] == 1:
            _show_change(row[2], change[..., 0], eps)
            continue
        show_image(bare(row[2]), 0.5 + change / (2.0 * eps), "nearest")
        _show_change(row[3], change.mean(axis=-1), eps)
        for axes, channel in zip(row[4:], np.moveaxis(change, -1, 0), strict=True):
            _show_change(axes, channel, eps)
    for axes, name in zip(grid[:, 0], names or (), strict=False):
        # As wide as a panel is high: the names of two rows would meet.
        axes.set_ylabel(textwrap.fill(name, 16), fontsize=8)
    _add_bar(figure, grid, eps)
    return figure


def _show_change(axes: Axes, change: np.ndarray, eps: float) -> None:
    axes.imshow(change, cmap=_COLORS, vmin=-eps, vmax=eps, interpolation="nearest")
    bare(axes)


def _add_bar(figure: Figure, grid: np.ndarray, eps: float) -> None:
    scale = ScalarMappable(Normalize(-eps, eps), _COLORS)
    bar = figure.colorbar(scale, ax=grid, ticks=[-eps, 0, eps], shrink=0.9, pad=0.01)
    level = f"{255 * eps:.3g}/255"
    bar.ax.set_yticklabels([f"-{level}", "0", f"+{level}"], fontsize=7)
    bar.outline.set_visible(False)


def _check(
    images: np.ndarray,
    adversarial: np.ndarray,
    eps: float,
    names: Sequence[str] | None,
) -> None:
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(
            "`images` must have shape [N, H, W, C] with N at least 1 and one or three "
            f"channels. Received: shape={images.shape}"
        )
    if adversarial.shape != images.shape:
        raise ValueError(
            f"`adversarial` must have the shape of `images`, {images.shape}. "
            f"Received: shape={adversarial.shape}"
        )
    require_positive("eps", eps)
    if names is not None and len(names) != len(images):
        raise ValueError(
            f"`names` must hold {len(images)} strings, one an image. "
            f"Received: {len(names)}"
        )
