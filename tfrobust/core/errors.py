"""What other packages' errors say, in a sentence of our own."""

from __future__ import annotations


def first_line(error: Exception) -> str:
    """What an error of another package says, at its beginning; its type if nothing.

    Example:
        >>> first_line(ValueError(" no such layer" + chr(10) + "In detail: ..."))
        'no such layer'
        >>> first_line(KeyError())
        'KeyError'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class ExtensionError(ValueError):
    """What was registered, or derived from one of our classes, breaks their contract.

    Raised where it is first used, often while a graph is traced, for programs to show
    as one sentence.
    """
