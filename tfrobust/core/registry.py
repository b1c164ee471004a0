"""Objects by name, for what a command line or a file chooses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, TypeVar

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
