"""Files that are replaced in one piece."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator


def partial_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """Where a file is written before it is complete: beside it, with its ending.

    Args:
        path: The file.

    Example:
        >>> partial_path("model.keras").name
        'model.partial.keras'
    """
    path = pathlib.Path(path)
    return path.with_name(f"{path.stem}.partial{path.suffix}")


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike[str], *, sync: bool = False
) -> Iterator[pathlib.Path]:
    """Writes a file so that readers have either the old one or the new one, whole.

    The block writes to `partial_path(path)`, which takes the place of `path` when the
    block ends. Where it raises, `path` stays as it is and nothing is left beside it. A
    process that is killed may leave the partial file; the next write removes it.

    Args:
        path: The file; its folder must exist.
        sync: Whether the content must reach the disk before the old file goes, so that
            it survives a power failure.

    Yields:
        Where to write. It has the ending of `path`, which Keras asks for.

    Raises:
        OSError: If there is no such folder, or no permission to write there.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing(path) as partial:
        ...     size = partial.write_text("whole")
        >>> path.read_text(), [entry.name for entry in path.parent.iterdir()]
        ('whole', ['notes.txt'])
    """
    partial = partial_path(path)
    partial.unlink(missing_ok=True)
    try:
        yield partial
        if sync:
            _to_disk(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _to_disk(path: pathlib.Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
