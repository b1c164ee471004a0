"""Settings of a program: a dataclass whose fields are its flags, each declared once.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Network(Settings, title="Network"):
        width: int = integer(64, "Channels of the first stage.", at_least=1)

`define(Network)` makes `--width` of it, under the heading "Network" of the help, and
`read(Network)` the object from the parsed command line. Groups are put together by
inheritance.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

from absl import flags

from tfrobust.cli.flagfiles import expand_flagfiles, packaged_flagfiles
from tfrobust.cli.program import UsageError
from tfrobust.core.fractions import Eps, parse_fraction, parse_radii

FLAGS = flags.FLAGS

# What absl adds to the help of a flag that may be given often.
_REPEAT = "; repeat this option to specify a list of values"

# The names of the flags under each heading of the help.
GROUPS: dict[str, list[str]] = {}


class Need(NamedTuple):
    """When a flag acts, if it acts together with others only.

    Attributes:
        condition: As it follows "needs" in a sentence: `--pag=cluster`.
        met: Whether it does, given the value of every flag by field name.
    """

    condition: str
    met: Callable[[Mapping[str, Any]], Any]


class _Flag(NamedTuple):
    """How a field is given on a command line."""

    define: Callable[..., Any]
    default: Any
    help: str
    name: str
    needs: tuple[Need, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of the dataclasses whose fields are flags.

    Subclasses are frozen, keyword-only dataclasses; `title` is the heading of their own
    flags in the help. `check` is overridden for what no flag can say by itself.
    """

    title: ClassVar[str] = "Run"

    def __init_subclass__(cls, title: str = "Run", **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.title = title

    def check(self) -> None:
        """Raises `UsageError` where flags do not fit each other."""


_AnySettings = TypeVar("_AnySettings", bound=Settings)


def string(default: str, help: str, **about: Any) -> Any:
    """A field of text.

    Args:
        default: Its default.
        help: What the help says of it.
        **about: For every kind of flag: `flag`, its name where a field cannot have it,
            and `needs`, a `Need` or several.
    """
    return _field(flags.DEFINE_string, default, help, **about)


def boolean(default: bool, help: str, **about: Any) -> Any:
    """A field that is true or false; `about` as in `string`."""
    return _field(flags.DEFINE_boolean, default, help, **about)


def choice(default: str, values: Sequence[str], help: str, **about: Any) -> Any:
    """A field that is one of `values`; `about` as in `string`."""
    make = functools.partial(flags.DEFINE_enum, enum_values=list(values))
    return _field(make, default, help, **about)


def integer(
    default: int | None,
    help: str,
    *,
    at_least: int | None = 0,
    at_most: int | None = None,
    **about: Any,
) -> Any:
    """A field that is a whole number within bounds; `about` as in `string`."""
    make = functools.partial(
        flags.DEFINE_integer, lower_bound=at_least, upper_bound=at_most
    )
    return _field(make, default, help, **about)


def number(
    default: float | str | None,
    help: str,
    *,
    at_least: float | None = 0.0,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    **about: Any,
) -> Any:
    """A field that is a finite number or a fraction such as 8/255.

    Args:
        default: Its default, as it would be given.
        help: What the help says of it.
        at_least: The smallest that is allowed.
        at_most: The largest, if there is one.
        above: What it must be above.
        below: What it must be below.
        **about: As in `string`.
    """

    def make(name: str, default: Any, help: str, flag_values: flags.FlagValues) -> None:
        parser = _NumberParser(at_least, at_most)
        flags.DEFINE(parser, name, default, help, flag_values, serializer=None)
        if above is not None:
            flags.register_validator(
                name,
                lambda value: value is None or value > above,
                f"must be above {above:g}.",
                flag_values,
            )
        if below is not None:
            flags.register_validator(
                name,
                lambda value: value is None or value < below,
                f"must be below {below:g}.",
                flag_values,
            )

    return _field(make, default, help, parse=parse_fraction, **about)


def radii(default: str, help: str, **about: Any) -> Any:
    """A field of one or more radii with commas between, a tuple of `Eps`, rising.

    With an empty default it holds none unless its flag is given.
    """

    def parse(text: str) -> tuple[Eps, ...]:
        return parse_radii(text) if text else ()

    def make(name: str, default: Any, help: str, flag_values: flags.FlagValues) -> None:
        given = parse(default)
        flags.DEFINE(_RadiiParser(), name, given, help, flag_values, serializer=None)

    return _field(make, default, help, parse=parse, **about)


def several(help: str, **about: Any) -> Any:
    """A field of texts, a tuple; its flag is given once for each."""
    return _field(flags.DEFINE_multi_string, (), help, **about)


def _field(
    make: Callable[..., Any],
    default: Any,
    help: str,
    *,
    parse: Callable[[Any], Any] = lambda value: value,
    flag: str = "",
    needs: Need | tuple[Need, ...] = (),
) -> Any:
    needed = (needs,) if isinstance(needs, Need) else needs
    about = _Flag(make, default, help, flag, needed)
    return dataclasses.field(
        default=default if default is None else parse(default), metadata={"flag": about}
    )


class _NumberParser(flags.FloatParser):
    """Parses `8/255` as well as `0.03`."""

    def convert(self, argument: float | int | str) -> float:
        """The number that a text such as `8/255` stands for."""
        return parse_fraction(argument)


class _RadiiParser(flags.ArgumentParser):
    """Parses radii with commas between."""

    def parse(self, argument: Any) -> Any:
        """A tuple of `Eps`."""
        return argument if isinstance(argument, tuple) else parse_radii(argument)


def define(settings: type[Settings], **defaults: Any) -> None:
    """Defines the flag of every field on absl's `FLAGS`, once.

    Args:
        settings: The class.
        **defaults: Defaults of the calling program, by flag, where they differ.
    """
    for title, field, about in _fields(settings):
        name = about.name or field
        if name in FLAGS and getattr(FLAGS[name], "meaning", "") != about.help:
            raise ValueError(
                f"The flag of {settings.__name__}.{field} must have a name of its own, "
                f"or the meaning of the one there is. Received: {name}"
            )
        if name not in FLAGS:
            GROUPS.setdefault(title, []).append(name)
            about.define(
                name=name, default=about.default, help=about.help, flag_values=FLAGS
            )
            # absl puts more into the help of some kinds.
            FLAGS[name].meaning = about.help  # type: ignore[attr-defined]
    for name, value in defaults.items():
        FLAGS.set_default(name, value)


@contextlib.contextmanager
def command_line(
    define_flags: Callable[[], None], arguments: Sequence[str]
) -> Iterator[None]:
    """Another program's command line in place of this one's, for as long as it lasts.

    Within the block `read`, `was_given` and `was_changed` tell of that command line;
    after it, of the one that this program was started with, as before.

    Args:
        define_flags: Defines the flags of the other program.
        arguments: Its command line without the program's name; `--flagfile=` among
            them is read.

    Raises:
        UsageError: If the other program has no such flag, or not with such a value.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Search(Settings):
        ...     steps: int = integer(3, "Steps of the search.")
        >>> with command_line(functools.partial(define, Search), ["--steps=5"]):
        ...     read(Search).steps
        5
    """
    global FLAGS, GROUPS
    kept = FLAGS, GROUPS
    FLAGS, GROUPS = flags.FlagValues(), {}
    try:
        define_flags()
        try:
            rest = FLAGS(["program", *expand_flagfiles(arguments)])[1:]
        except (flags.Error, ValueError) as error:
            raise UsageError(str(error).splitlines()[0]) from error
        if rest:
            raise UsageError(f"Unexpected argument {rest[0]!r}.")
        yield
    finally:
        FLAGS, GROUPS = kept


def names(settings: type[Settings]) -> list[str]:
    """The flags of a class, in order."""
    return [about.name or field for _, field, about in _fields(settings)]


def was_changed(name: str) -> bool:
    """Whether a flag was given, and not its default, as flagfiles do."""
    flag = FLAGS[name]
    return bool(flag.present and flag.value != flag.default)


def was_given(name: str) -> bool:
    """Whether a flag was given, be it its default."""
    return bool(FLAGS[name].present)


def read(settings: type[_AnySettings]) -> _AnySettings:
    """The parsed command line as an object.

    Raises:
        UsageError: If flags do not fit each other, or one was given that does nothing
            beside the others. A flag that was given its default is let through, as
            flagfiles do that.
    """
    flag_of = {field: about.name or field for _, field, about in _fields(settings)}
    values = {field: FLAGS[name].value for field, name in flag_of.items()}
    lists = {field: tuple(v) for field, v in values.items() if isinstance(v, list)}
    config = settings(**(values | lists))
    config.check()
    for field, need in _idle(settings, values).items():
        if was_changed(flag_of[field]):
            raise UsageError(f"--{flag_of[field]} needs {need.condition}.")
    return config


def flag_lines(config: Settings, without: Sequence[str] = ()) -> list[str]:
    """The lines of the flagfile that repeats what `config` says.

    Flags that do nothing in it are left out: they would be refused.

    Args:
        config: The settings.
        without: Fields to leave out.
    """
    settings = type(config)
    values = {field: getattr(config, field) for _, field, _ in _fields(settings)}
    left_out = {*without, *_idle(settings, values)}
    return [
        f"--{about.name or field}={_text(each)}"
        for _, field, about in _fields(settings)
        if field not in left_out
        for each in _each(values[field])
    ]


def _each(value: Any) -> Sequence[Any]:
    """What a flag is given, once or several times."""
    if not isinstance(value, tuple):
        return [value]
    if value and isinstance(value[0], Eps):
        return [",".join(map(str, value))]
    return value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _idle(settings: type[Settings], values: Mapping[str, Any]) -> dict[str, Need]:
    """The fields that do nothing beside the others, each with what it lacks."""
    return {
        field: need
        for _, field, about in _fields(settings)
        for need in about.needs
        if not need.met(values)
    }


def _fields(settings: type[Settings]) -> Iterator[tuple[str, str, _Flag]]:
    """Heading, name and flag of every field: of bases first, in their order."""
    own = {field.name: field for field in dataclasses.fields(settings)}
    for part in _parts(settings):
        for name in vars(part).get("__annotations__", ()):
            if name in own and "flag" in own[name].metadata:
                yield part.title, name, own[name].metadata["flag"]


def _parts(settings: type) -> list[Any]:
    parts = [part for base in settings.__bases__ for part in _parts(base)]
    mine = [settings] if issubclass(settings, Settings) else []
    return list(dict.fromkeys([*parts, *mine]))


def grouped_help(usage: str) -> str:
    """The help text: usage, then every flag under its group with its default."""
    lines = [usage.strip(), ""]
    for title, names in GROUPS.items():
        lines += textwrap.wrap(f"{title}:", 88)
        for name in names:
            flag = FLAGS[name]
            allowed = getattr(flag.parser, "enum_values", None)
            choice = f" ({'|'.join(allowed)})" if allowed else ""
            lines.append(f"  --{name}{choice}, default {_shown(flag.default)}")
            # absl breaks lines in `flag.help` where it likes.
            text = " ".join(flag.help.split()).removesuffix(_REPEAT)
            lines += textwrap.wrap(
                text, 80, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
        lines.append("")
    files = (
        "--flagfile=FILE reads flags from a file and may be given several times; what "
        "comes later wins."
    )
    if fitting := [name for name in packaged_flagfiles() if _fits(name)]:
        listed = ", ".join(fitting)
        files += f" These come with the package and are known by their names: {listed}."
    lines += textwrap.wrap(files, 80, break_on_hyphens=False)
    return "\n".join(lines)


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return repr(",".join(map(str, default)))
    return repr(default)


def _fits(flagfile: str) -> bool:
    """Whether a packaged flagfile has flags of this program alone."""
    given = expand_flagfiles([f"--flagfile={flagfile}"])
    return all(flag[2:].partition("=")[0] in FLAGS for flag in given)
