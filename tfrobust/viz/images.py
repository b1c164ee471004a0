"""Images side by side with what a model calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from tfrobust.viz.style import bare, show_image


def image_rows(
    rows: Mapping[str, tuple[Any, Sequence[str]]], truth: Sequence[str]
) -> Figure:
    """One row of images for each title, with a model's answer under each image.

    Args:
        rows: `{title: (images, answers)}`; images float `[N,H,W,C]` in [0, 1] with one
            or three channels, answers N strings. Every row has the same N.
        truth: The N true names; an answer that differs is printed in red.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If a row holds another number of images or answers than `truth`,
            or there is nothing to show.

    Example:
        >>> import numpy as np
        >>> from tfrobust import viz
        >>> images = np.zeros((2, 8, 8, 3), "float32")
        >>> figure = viz.image_rows({"clean": (images, ["a", "b"])}, truth=["a", "a"])
        >>> len(figure.axes)
        2
    """
    count = len(truth)
    if not rows or not count:
        raise ValueError(
            "`rows` and `truth` must not be empty. "
            f"Received: {len(rows)} rows and {count} names"
        )
    for title, (images, answers) in rows.items():
        if len(images) != count or len(answers) != count:
            raise ValueError(
                f"`rows` must hold {count} images and answers each, as `truth` does. "
                f"Received: {len(images)} and {len(answers)} for {title!r}"
            )
    figure = Figure(figsize=(1.25 * count, 1.6 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (title, (images, answers)) in zip(grid, rows.items(), strict=True):
        line[0].set_title(title, loc="left", fontsize=9)
        for axes, image, answer, name in zip(line, images, answers, truth, strict=True):
            show_image(bare(axes), image)
            color = "black" if answer == name else "red"
            axes.set_xlabel(answer, fontsize=8, color=color)
    return figure
