"""What other packages' errors say, in a sentence of our own."""

from __future__ import annotations

import pathlib
import sys
import warnings

_PACKAGE = str(pathlib.Path(__file__).parents[1])


def first_line(error: Exception) -> str:
    """What an error of another package says, at its beginning; its type if nothing.

    Example:
        >>> first_line(ValueError(" no such layer" + chr(10) + "In detail: ..."))
        'no such layer'
        >>> first_line(KeyError())
        'KeyError'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def warn_caller(sentence: str) -> None:
    """Warns as from the line of whoever called this package.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_caller("Mind the gap.")
        >>> [str(warning.message) for warning in caught]
        ['Mind the gap.']
    """
    level, frame = 1, sys._getframe()
    # The constructor of a dataclass is in no file.
    while frame.f_back is not None and frame.f_code.co_filename.startswith(
        (_PACKAGE, "<string>")
    ):
        level, frame = level + 1, frame.f_back
    warnings.warn(sentence, stacklevel=level)


class ExtensionError(ValueError):
    """What was registered, or derived from one of our classes, breaks their contract.

    Raised where it is first used, often while a graph is traced, for programs to show
    as one sentence.
    """
