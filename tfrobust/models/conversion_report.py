"""What a conversion of a network has changed, layer by layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

# So many names in a summary.
_SHOWN = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerChange:
    """What became of one layer or operation.

    Attributes:
        name: Of the layer in the given network; in a nested one behind its name and a
            slash.
        before: What it was: class and activation.
        after: What it is; as `before` where it was kept.
        lipschitz: Lipschitz constant at inference of what it is, infinite where none is
            known, and `None` where it is not computed: of layers that are as large as
            their weights make them. A sum or a concatenation counts one for each input.
        is_smooth: Whether its second derivative is known to be bounded.
        note: What was lost, or by what it was divided; empty if there is nothing.
    """

    name: str
    before: str
    after: str
    lipschitz: float | None
    is_smooth: bool
    note: str = ""

    @property
    def changed(self) -> bool:
        """Whether the layer was replaced."""
        return self.before != self.after


@dataclasses.dataclass(frozen=True)
class ConversionReport:
    """What a conversion has changed, and which layers are not bounded.

    `str(report)` counts the changes; `report.table()` lists them layer by layer.

    Attributes:
        changes: One `LayerChange` a layer, in the order of the network.

    Example:
        >>> change = LayerChange(name="conv", before="Conv2D", after="SpectralConv2D",
        ...                      lipschitz=1.0, is_smooth=True, note="divided by 2.5")
        >>> print(ConversionReport((change,)).table())
        layer | was    | is             | Lipschitz | note
        conv  | Conv2D | SpectralConv2D | 1         | divided by 2.5
    """

    changes: tuple[LayerChange, ...]

    @property
    def unbounded(self) -> tuple[str, ...]:
        """Names of the layers that have no known Lipschitz constant."""
        return tuple(c.name for c in self.changes if c.lipschitz == math.inf)

    @property
    def not_smooth(self) -> tuple[str, ...]:
        """Names of the other layers whose curvature is not known to be bounded."""
        return tuple(
            c.name for c in self.changes if not c.is_smooth and c.lipschitz != math.inf
        )

    def table(self) -> str:
        """A row for each layer that was changed, has a note or has no bound."""
        rows = [
            (c.name, c.before, c.after, _number(c.lipschitz), c.note)
            for c in self.changes
            if c.changed or c.note or c.lipschitz == math.inf or not c.is_smooth
        ]
        return _aligned([("layer", "was", "is", "Lipschitz", "note"), *rows])

    def __str__(self) -> str:
        """How many layers of each kind became what, and names without a bound."""
        kinds: dict[tuple[str, str], list[LayerChange]] = {}
        for change in self.changes:
            kinds.setdefault((change.before, change.after), []).append(change)
        rows = [
            (str(len(found)), before, after if before != after else "kept")
            for (before, after), found in kinds.items()
        ]
        lines = [_aligned([("layers", "was", "is"), *rows])]
        lines += _listed("No known Lipschitz constant", self.unbounded)
        lines += _listed("No known bound on the curvature", self.not_smooth)
        return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return "by weights"
    return "unknown" if value == math.inf else f"{value:.4g}"


def _listed(title: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    rest = len(names) - _SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return [f"{title}: {', '.join(names[:_SHOWN])}{more}"]


def _aligned(rows: Iterable[Sequence[str]]) -> str:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip(" ") for line in lines)
