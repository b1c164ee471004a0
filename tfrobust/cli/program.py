"""How every program starts: parse flags, fail in one sentence, exit with a code.

0: done. 2: it cannot be done, `UsageError` says why. 3: it was done, and the result is
not what was asked for, `CheckFailed` says what. 75: another worker is gone,
`WorkerLost` says which, and all may be started again.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from absl import flags, logging

from tfrobust.cli.flagfiles import expand_flagfiles
from tfrobust.cli.quiet import start_tensorflow
from tfrobust.core.errors import first_line

# Packages that training needs and an installation for the layers alone does not have.
_EXTRA = ("importlib_resources", "matplotlib", "tensorboard", "tensorflow_datasets")


class UsageError(Exception):
    """Something the user asked for cannot be done; the message is one sentence."""


class CheckFailed(Exception):
    """All was done, and a result fails a check that was asked for; one sentence."""


class WorkerLost(Exception):
    """A run needs a worker that is gone; one sentence. All may be started again."""

    # "Try again", of sysexits.h: nothing is wrong with the flags.
    CODE = 75


def run(
    main: Callable[..., None],
    show_help: Callable[[], str],
    *,
    takes_words: bool = False,
) -> None:
    """Runs a program whose flags are defined, with one-sentence errors.

    Args:
        main: The program, called once the flags are parsed: without arguments, or with
            the list of words that are no flags.
        show_help: Returns the text for `--help`.
        takes_words: Whether there may be such words; else they are refused.
    """
    if {"--help", "-h", "-help"} & set(sys.argv[1:]):
        _show(show_help())
        return
    logging.set_verbosity(logging.WARNING)
    before, warnings.formatwarning = warnings.formatwarning, _in_one_line
    try:
        words = _parse()
        if takes_words:
            main(words)
        elif words:
            raise UsageError(
                f"Unexpected argument {words[0]!r}; everything is given as a "
                "--flag=value."
            )
        else:
            main()
    except UsageError as error:
        fail(str(error))
    except CheckFailed as error:
        fail(str(error), code=3, word="failed")
    except WorkerLost as error:
        fail(str(error), code=WorkerLost.CODE)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        fail(f"The package {error.name} is missing: pip install 'tfrobust[train]'.")
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


def import_before_flags(arguments: Sequence[str]) -> None:
    """Imports what `--import` names before flags are defined, which it may add to.

    Args:
        arguments: Of the command line.
    """
    try:
        expanded = expand_flagfiles(arguments)
    except ValueError:
        return  # `run` says what is wrong.
    names = []
    for argument, following in zip(expanded, [*expanded, ""][1:], strict=True):
        name, equals, value = argument.partition("=")
        if name in ("--import", "-import"):
            names.append(value if equals else following)
    if not names:
        return
    start_tensorflow()
    try:
        import_modules(names)
    except UsageError as error:
        fail(str(error))


def is_watched() -> bool:
    """Whether somebody sees standard error as it is written, on a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def fail(sentence: str, code: int = 2, word: str = "error") -> NoReturn:
    """Prints one sentence, on one line, to standard error and exits with a code."""
    say(sentence, word)
    sys.exit(code)


def say(sentence: str, word: str = "error") -> None:
    """Prints one sentence, on one line, to standard error."""
    print(f"{word}: {' '.join(sentence.split())}", file=sys.stderr, flush=True)


def _in_one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """What the library has to say as a sentence; of other warnings where they are."""
    text = " ".join(str(message).split())
    if category is UserWarning:
        return f"warning: {text}\n"
    return f"warning: {category.__name__} in {filename}, line {lineno}: {text}\n"


def _show(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # `--help | head` has seen enough; Python would complain again on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse() -> list[str]:
    """Parses the command line into absl's `FLAGS`; what is left over."""
    try:
        return flags.FLAGS([sys.argv[0], *expand_flagfiles(sys.argv[1:])])[1:]
    except flags.Error as error:
        fail(_in_words(error))
    except ValueError as error:
        fail(str(error))


def _in_words(error: flags.Error) -> str:
    """The first thing that absl found wrong, without what it adds for programmers."""
    sentence = str(error).splitlines()[0].removeprefix("ERROR:: ")
    return re.sub(r"\('Non-boolean argument.*", "must be true or false", sentence)
