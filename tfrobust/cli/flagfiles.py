"""Flagfiles: the user's own, and by name those that come with the package."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Sequence

_ENDING = ".flags"
_FOLDERS: list[pathlib.Path] = []


def add_folder(folder: pathlib.Path) -> None:
    """Lets the flagfiles of a folder be known by their names.

    Args:
        folder: That of a package, which calls this when it is imported.
    """
    if folder not in _FOLDERS:
        _FOLDERS.append(folder)


def _packaged() -> dict[str, pathlib.Path]:
    """The file of each name."""
    paths = [path for folder in _FOLDERS for path in folder.glob(f"*{_ENDING}")]
    return {path.stem: path for path in sorted(paths, key=lambda path: path.stem)}


def packaged_flagfiles() -> list[str]:
    """Names of the flagfiles that come with the package, in order."""
    return list(_packaged())


def find_flagfile(name: str) -> pathlib.Path:
    """The file that `--flagfile=name` means.

    Args:
        name: The name of a packaged flagfile, which is never taken for a file of that
            name in the current folder (that is `./name`), or a path.

    Raises:
        ValueError: If there is neither.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "mine.flags").write_text("--seed=1")
        >>> find_flagfile(str(folder / "mine.flags")).name
        'mine.flags'
    """
    packaged = _packaged()
    if name in packaged:
        return packaged[name]
    path = pathlib.Path(name).expanduser()
    if path.is_file():
        return path
    stem = path.name.removesuffix(_ENDING)
    # Within the checkout they are known by their path too.
    if stem in packaged and path.parent in (
        pathlib.Path(),
        *(pathlib.Path(*folder.parts[-2:]) for folder in _FOLDERS),
    ):
        return packaged[stem]
    like = ", ".join(difflib.get_close_matches(stem, packaged, n=3, cutoff=0.5))
    near = f"; the nearest are {like}" if like else ", which --help lists"
    raise ValueError(
        f"--flagfile={name} is neither a file nor one that comes with tfrobust{near}."
    )


def expand_flagfiles(arguments: Sequence[str]) -> list[str]:
    """Arguments with the flags of a file in the place of each `--flagfile`.

    absl would do it, but knows files by their path alone.

    Args:
        arguments: Of a command line, or the lines of a file.

    Raises:
        ValueError: If a file is missing, is no text, or reads itself.
    """
    return _expand(arguments, ())


def _expand(arguments: Sequence[str], around: tuple[pathlib.Path, ...]) -> list[str]:
    expanded: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*expanded, argument, *rest]
        name, equals, value = argument.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        if not equals:
            value = next(rest, "")
        path = find_flagfile(value)
        if path in around:
            raise ValueError(f"--flagfile={value} reads itself.")
        expanded += _expand(_lines(path), (*around, path))
    return expanded


def _lines(path: pathlib.Path) -> list[str]:
    """The flags in a file: its lines but for blank ones and comments."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError:
        raise ValueError(
            f"--flagfile={path} must be a text file with one flag on each line."
        ) from None
    except OSError as error:
        raise ValueError(
            f"--flagfile={path} cannot be read: {error.strerror}."
        ) from None
    return [line for line in lines if line and not line.startswith(("#", "//"))]
