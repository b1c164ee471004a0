"""Writing figures to files."""

from __future__ import annotations

import os

from matplotlib.figure import Figure


def save(figure: Figure, path: str | os.PathLike[str], dpi: int = 120) -> None:
    """Writes a figure; the format follows the file's ending (png, svg, pdf).

    Args:
        figure: The figure.
        path: The file, replaced if it exists.
        dpi: Dots per inch of raster formats.

    Example:
        >>> import tempfile
        >>> from matplotlib.figure import Figure
        >>> from tfrobust import viz
        >>> viz.save(Figure(), tempfile.mkdtemp() + "/empty.png")
    """
    figure.savefig(path, dpi=dpi, bbox_inches="tight")
