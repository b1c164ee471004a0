"""How wide a line of progress may be."""

from __future__ import annotations

import os
from typing import TextIO

_WIDTH = 80


def columns(stream: TextIO | None) -> int:
    """Columns that a line may take: at most 80, and fewer on a narrow terminal.

    One less than a terminal has, some of which go to the next line when their last
    column is written.

    Args:
        stream: Where the line is written; `None`, as `sys.stderr` may be, is no
            terminal.

    Returns:
        At least 1.

    Example:
        >>> import io
        >>> columns(io.StringIO())
        80
    """
    if stream is None or not stream.isatty():
        return _WIDTH
    try:
        wide = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        wide = 0
    # A terminal that does not know its width says 0.
    return min(wide - 1, _WIDTH) if wide > 1 else _WIDTH - 1
