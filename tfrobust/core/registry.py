"""Objects by name, for what a command line or a file chooses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from tfrobust.core.specs import Spec, build, parameters_of, read

_Entry = TypeVar("_Entry")

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Registry(Generic[_Entry]):
    """A table from names to objects that refuses to give a name twice.

    Attributes:
        kind: What the objects are, as it stands in an error: "attack".

    Example:
        >>> shapes = Registry("shape")
        >>> shapes.add("square", 4)
        >>> shapes["square"], shapes.names(), "circle" in shapes
        (4, ('square',), False)
        >>> shapes["circle"]
        Traceback (most recent call last):
        ...
        ValueError: `shape` must be one of square. Received: 'circle'
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, _Entry] = {}

    def add(self, name: str, entry: _Entry) -> None:
        """Gives an object a name.

        Args:
            name: Lower-case letters, digits and underscores, a letter first.
            entry: The object. The same one may be added again.

        Raises:
            ValueError: If the name is malformed or belongs to another object.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"The name of a registered {self.kind} must be lower-case letters, "
                f"digits and underscores, a letter first. Received: {name!r}"
            )
        if self._entries.setdefault(name, entry) is not entry:
            raise ValueError(
                f"The name of a registered {self.kind} must be new. Received: "
                f"{name!r}, which is {self._entries[name]!r}"
            )

    def names(self) -> tuple[str, ...]:
        """Every name, in alphabetical order."""
        return tuple(sorted(self._entries))

    def name_of(self, entry: object) -> str | None:
        """The first name that the object was given, or `None`."""
        for name, other in self._entries.items():
            if other is entry:
                return name
        return None

    def __getitem__(self, name: str) -> _Entry:
        """The object of this name; raises `ValueError`, listing all, without one."""
        if name not in self._entries:
            raise ValueError(
                f"`{self.kind}` must be one of {', '.join(self.names())}. "
                f"Received: {name!r}"
            )
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._entries)


_Made = TypeVar("_Made")
_Maker = TypeVar("_Maker", bound=Callable[..., Any])


class Makers(Registry[Callable[..., _Made]]):
    """Classes and functions by name, each called with settings from a text.

    Example:
        >>> words = Makers("word")
        >>> @words.register("echo")
        ... def echo(text, times: int = 2):
        ...     return text * times
        >>> words.make("echo:times=3", "ab"), words.settings("echo")
        ('ababab', ('text', 'times'))
    """

    def register(self, name: str) -> Callable[[_Maker], _Maker]:
        """A decorator that gives a class or function a name; see `Registry.add`."""

        def add(maker: _Maker) -> _Maker:
            self.add(name, maker)
            return maker

        return add

    def make(self, text: str, *arguments: Any, **defaults: Any) -> _Made:
        """Calls what a text names; see `tfrobust.core.specs.build`.

        Args:
            text: A name, and after a colon any number of settings with commas between.
            *arguments: What comes first and is no setting.
            **defaults: Settings, used where there is such a one and the text does not
                give it.

        Raises:
            ValueError: If there is no such name or setting, or a value is refused.
        """
        spec = Spec.parse(text)
        return build(self[spec.name], spec, defaults, arguments)

    def settings(self, text: str, skip: int = 0) -> tuple[str, ...]:
        """Names of the settings of what a text names; those in the text are checked.

        What is registered may have a `check_settings`, which is called with the values
        that the text gives.

        Args:
            text: As for `make`.
            skip: How many parameters come first, by position, and are no settings.

        Raises:
            ValueError: If there is no such name or setting, or a value is refused.
        """
        spec = Spec.parse(text)
        maker = self[spec.name]
        values = read(maker, spec, skip)
        try:
            getattr(maker, "check_settings", dict)(**values)
        except ValueError as error:
            raise ValueError(f"{spec.name}: {error}") from error
        return parameters_of(maker)[skip:]
