"""What images become when they follow a network's gradients towards each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from tfrobust.viz.style import bare, show_image

# Height of the gap between one image's rows and the next one's, in images.
_GAP = 0.15


def towards_classes(
    clean: Any, modified: Mapping[str, Any], class_names: Sequence[str]
) -> Figure:
    """An image on the left, a column a target class, a row a network.

    As Figures 1 and 4 of "Do Perceptually Aligned Gradients Imply Adversarial
    Robustness?". With networks trained at several weights of a penalty, one a row, it
    is Figure 5. Where gradients mean nothing to a person, moved images look like the
    original with noise; where they do, the class appears.

    Args:
        clean: Float `[N,H,W,C]` in [0, 1] with one or three channels; each image makes
            a block of rows.
        modified: `{name: images}`, the names of networks or weights; images float
            `[N,K,H,W,C]`, from `tfrobust.analysis.towards_classes` or some of its
            columns.
        class_names: The K names of the target classes.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there is nothing to show, or the arrays do not fit each other.

    Example:
        >>> import numpy as np
        >>> from tfrobust import viz
        >>> clean = np.zeros((1, 8, 8, 3), "float32")
        >>> moved = np.full((1, 2, 8, 8, 3), 0.5, "float32")
        >>> figure = viz.towards_classes(clean, {"plain": moved}, ["cat", "dog"])
        >>> [axes.get_title() for axes in figure.axes]
        ['original', 'cat', 'dog']
    """
    clean = np.asarray(clean, np.float64)
    moved = {name: np.asarray(part, np.float64) for name, part in modified.items()}
    _check(clean, moved, len(class_names))
    titles = ["original", *class_names]
    rows, columns = len(clean) * (len(moved) + 1) - 1, len(titles)
    figure = Figure(
        figsize=(columns + 1.2, len(clean) * (len(moved) + _GAP) + 0.3),
        layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0),
    )
    heights = [*[1.0] * len(moved), _GAP] * len(clean)
    grid = figure.add_gridspec(rows, columns, height_ratios=heights[:-1])
    for place, image in enumerate(clean):
        for line, (name, part) in enumerate(moved.items()):
            row = place * (len(moved) + 1) + line
            cells = [bare(figure.add_subplot(grid[row, i])) for i in range(columns)]
            cells[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
            # The original is shown once, above nothing.
            for axes, shown in zip(
                cells[line > 0 :], [image, *part[place]][line > 0 :], strict=True
            ):
                show_image(axes, shown, "nearest")
            if not row:
                for axes, title in zip(cells, titles, strict=True):
                    axes.set_title(title, fontsize=8)
    return figure


def _check(clean: np.ndarray, moved: Mapping[str, np.ndarray], classes: int) -> None:
    if clean.ndim != 4:
        raise ValueError(
            f"`clean` must have shape [N, H, W, C]. Received: shape={clean.shape}"
        )
    if not moved or not len(clean) or not classes:
        raise ValueError(
            "`clean`, `modified` and `class_names` must not be empty. Received: "
            f"{len(clean)} images, {len(moved)} rows and {classes} classes"
        )
    expected = (len(clean), classes, *clean.shape[1:])
    for name, part in moved.items():
        if part.shape != expected:
            raise ValueError(
                f"`modified` must hold arrays of shape {expected}, as `clean` and "
                f"`class_names` say. Received: {part.shape} for {name!r}"
            )
