"""What tests of several programs share."""

import contextlib
import dataclasses
import io
import sys
from collections.abc import Callable, Iterator

from absl import flags

from tests.trainers.conftest import Ended
from tfrobust.cli import flags as cli_flags
from tfrobust.cli import program
from trainers.train import options


@contextlib.contextmanager
def defined_flags(define: Callable[[], None]) -> Iterator[flags.FlagValues]:
    """A program's flags on absl's `FLAGS`, and off again."""
    cli_flags.GROUPS.clear()
    try:
        define()
        yield flags.FLAGS
    finally:
        names = [name for group in cli_flags.GROUPS.values() for name in group]
        flags.FLAGS.unparse_flags()
        flags.FLAGS.remove_flag_values(names)
        cli_flags.GROUPS.clear()


def run_here(module, define, *arguments, takes_words=False):
    """A program in this process, from its command line to its end."""
    out, err = io.StringIO(), io.StringIO()
    code, argv = 0, sys.argv
    sys.argv = [module.__name__, *map(str, arguments)]
    with (
        defined_flags(define),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            program.run(
                module.main,
                lambda: cli_flags.grouped_help(module.__doc__),
                takes_words=takes_words,
            )
        except SystemExit as stop:
            code = stop.code
        finally:
            sys.argv = argv
    return Ended(code, out.getvalue(), err.getvalue())


def with_defaults_of(module, parse):
    """`parse` of conftest with a program's defaults, and the CIFAR program's config."""
    cifar = parse()
    options.define_flags(**module.DEFAULTS)
    return parse, cifar


def assert_defaults(module, config, cifar):
    """Each of `DEFAULTS` differs from the CIFAR program's, and nothing else does."""
    changed = {
        field.name
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(cifar, field.name)
    }
    assert changed == {*module.DEFAULTS, "workdir"}


def help_lines(module, monkeypatch, capsys):
    """What `python -m MODULE --help` prints."""
    monkeypatch.setattr("sys.argv", [module.__name__, "--help"])
    program.run(None, lambda: cli_flags.grouped_help(module.__doc__))
    return capsys.readouterr().out.splitlines()
