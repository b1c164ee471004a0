"""What an attack made of images, and what a model then took them for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfrobust.viz.style import bare, show_image


def fallen_images(
    images: Any,
    adversarial: Any,
    truth: Sequence[str],
    answers: Sequence[str],
    notes: Sequence[str] | None = None,
) -> Figure:
    """A column an image: as it was, after the attack, and the change between them.

    Below the image stands its class, and below the adversarial one the model's answer.
    The change is shown on a scale of its own: grey is none, black and white are the
    largest, which stands below in levels of 8 bits.

    Args:
        images: Float `[N,H,W,C]` in [0, 1] with one or three channels.
        adversarial: The same after an attack.
        truth: N names of classes.
        answers: N names of classes.
        notes: N texts to stand above the columns.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: If there is nothing to show, or the arguments differ in length.

    Example:
        >>> import numpy as np
        >>> from tfrobust import viz
        >>> images = np.full((1, 8, 8, 3), 0.5, "float32")
        >>> figure = viz.fallen_images(images, images + 0.1, ["cat"], ["dog"])
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['cat', 'dog', 'up to 25.5/255']
    """
    images, adversarial = (np.asarray(a, np.float64) for a in (images, adversarial))
    count = len(images)
    lengths = [count, len(truth), len(answers), count if notes is None else len(notes)]
    if not count or images.shape != adversarial.shape or len({*lengths}) > 1:
        raise ValueError(
            "`images` and `adversarial` must have one shape and at least one image, "
            "and `truth`, `answers` and `notes` as many texts. Received: shapes "
            f"{images.shape} and {adversarial.shape}, and {lengths[1:]} texts"
        )
    figure = Figure(figsize=(1.25 * count, 4.6), layout="constrained")
    grid = figure.subplots(3, count, squeeze=False)
    for place, column in enumerate(grid.T):
        change = adversarial[place] - images[place]
        largest = float(np.abs(change).max())
        shown = (images[place], adversarial[place], 0.5 + 0.5 * change / (largest or 1))
        below = (truth[place], answers[place], f"up to {255 * largest:.3g}/255")
        for axes, image, text in zip(column, shown, below, strict=True):
            show_image(bare(axes), image, "nearest")
            axes.set_xlabel(text, fontsize=8)
        if notes is not None:
            column[0].set_title(notes[place], fontsize=8)
    return figure
