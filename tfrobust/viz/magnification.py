"""Images as they are and magnified, side by side with what attacks made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfrobust.viz.style import bare, show_image

Pair = tuple[Any, Any]


def magnified(columns: Mapping[str, Pair]) -> Figure:
    """A column for the original and each attack; two rows an image.

    As Figure 1 of "Smooth Adversarial Examples": the upper row of a pair is the image
    as it is, the lower one the same image magnified, where perturbations too small to
    be seen show as texture that the original does not have.

    Args:
        columns: `{title: (images, magnified)}`, both float `[N,H,W,C]` in [0, 1] with
            one or three channels, the same N in every column; magnified by
            `tfrobust.analysis.magnify` and `to_display`.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there is nothing to show, or the arrays of a column are of
            another shape than those of the first.

    Example:
        >>> import numpy as np
        >>> from tfrobust import viz
        >>> images = np.zeros((1, 8, 8, 3), "float32")
        >>> figure = viz.magnified({"original": (images, images + 0.5)})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['as it is', 'magnified']
    """
    arrays = {
        title: [np.asarray(part, np.float64) for part in pair]
        for title, pair in columns.items()
    }
    shapes = {title: [part.shape for part in pair] for title, pair in arrays.items()}
    first = next(iter(shapes.values()), [()])[0]
    if not first or not first[0]:
        raise ValueError(
            "`columns` must hold at least one image. "
            f"Received: {len(columns)} columns and no images"
        )
    for title, shape in shapes.items():
        if shape != [first, first]:
            raise ValueError(
                f"`columns` must hold arrays of one shape, {first}. "
                f"Received: {shape} for {title!r}"
            )
    rows = 2 * first[0]
    figure = Figure(
        figsize=(1.9 * len(arrays) + 0.3, 1.9 * rows + 0.3), layout="constrained"
    )
    grid = figure.subplots(rows, len(arrays), squeeze=False)
    for column, (title, pair) in zip(grid.T, arrays.items(), strict=True):
        column[0].set_title(title, fontsize=9)
        # Image 0, image 0 magnified, image 1 and so on.
        shown = np.stack(pair, axis=1).reshape(rows, *first[1:])
        for axes, image in zip(column, shown, strict=True):
            show_image(bare(axes), image)
    for row, axes in enumerate(grid[:, 0]):
        axes.set_ylabel("magnified" if row % 2 else "as it is", fontsize=8)
    return figure
