"""How every program starts: parse flags, fail in one sentence, exit with code 2."""

from __future__ import annotations

import importlib
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import NoReturn

from absl import flags, logging

from tfrobust.errors import first_line


class UsageError(Exception):
    """Something the user asked for cannot be done; the message is one sentence."""


def run(main: Callable[[], None], show_help: Callable[[], str]) -> None:
    """Runs a program whose flags are defined, with one-sentence errors.

    Args:
        main: The program, called without arguments once the flags are parsed.
        show_help: Returns the text for `--help`.
    """
    if {"--help", "-h", "-help"} & set(sys.argv[1:]):
        _show(show_help())
        return
    _parse()
    logging.set_verbosity(logging.WARNING)
    before, warnings.formatwarning = warnings.formatwarning, _in_one_line
    try:
        main()
    except UsageError as error:
        fail(str(error))
    finally:
        warnings.formatwarning = before


def import_modules(names: Iterable[str]) -> None:
    """Imports what `--import` names, so that Keras knows the classes they register.

    Modules of the current folder are found too, after all others: a file there never
    takes the place of an installed package.

    Args:
        names: Names of modules, such as `my_package.layers`.

    Raises:
        UsageError: If one cannot be imported, for whatever reason.

    Example:
        >>> import_modules(["json"])
    """
    here = os.getcwd()
    # An empty entry is the current folder.
    if not {here, ""} & set(sys.path):
        sys.path.append(here)
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            # It may be anything: what is imported runs.
            raise UsageError(
                f"--import={name} cannot be imported: {first_line(error)}"
            ) from error


def fail(sentence: str) -> NoReturn:
    """Prints one sentence, on one line, to standard error and exits with code 2."""
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)


def _in_one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """What the library has to say as a sentence; of other warnings where they are."""
    told = " ".join(str(message).split())
    if category is UserWarning:
        return f"warning: {told}\n"
    return f"warning: {category.__name__} in {filename}, line {lineno}: {told}\n"


def _show(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # `--help | head` has seen enough; Python would complain again on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse() -> None:
    try:
        rest = flags.FLAGS(sys.argv)
    except flags.Error as error:
        fail(_in_words(error))
    except UnicodeDecodeError:
        fail("--flagfile must name a text file with one flag on each line.")
    if len(rest) > 1:
        fail(f"Unexpected argument {rest[1]!r}; everything is given as a --flag=value.")


def _in_words(error: flags.Error) -> str:
    """The first thing that absl found wrong, without what it adds for programmers."""
    sentence = str(error).splitlines()[0].removeprefix("ERROR:: ")
    return re.sub(r"\('Non-boolean argument.*", "must be true or false", sentence)
