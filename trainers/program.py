"""How every trainer starts: parse flags, fail in one sentence, exit with code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from trainers.options import grouped_help


class UsageError(Exception):
    """Something the user asked for cannot be done; the message is one sentence."""


def run(main: Callable[[], None], usage: str) -> None:
    """Runs a program whose flags are defined, with one-sentence errors.

    Args:
        main: The program, called without arguments once the flags are parsed.
        usage: First part of the help text.
    """

    def parse(arguments: Sequence[str]) -> list[str]:
        if {"--help", "-h", "-help"} & set(arguments):
            print(grouped_help(usage))
            sys.exit(0)
        try:
            rest = flags.FLAGS(arguments)
            if len(rest) > 1:
                raise flags.Error(f"unexpected argument {rest[1]!r}")
            return rest
        except flags.Error as error:
            fail(str(error).splitlines()[0])
            raise AssertionError("not reached") from error

    def guarded(_: Sequence[str]) -> None:
        logging.set_verbosity(logging.WARNING)
        try:
            main()
        except UsageError as error:
            fail(str(error))

    app.run(guarded, flags_parser=parse)


def fail(sentence: str) -> None:
    """Prints one sentence to standard error and exits with code 2."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)
