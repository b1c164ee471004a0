"""One self-contained HTML page of tables and figures; also as Markdown and as text.

The page loads nothing: its style and its figures, drawn once for light and once for
dark screens, are inside.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jinja2
import matplotlib.style
from markupsafe import Markup
from matplotlib.figure import Figure

from tfrobust.cli.tables import Table

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("tfrobust.cli", "."),
    autoescape=jinja2.select_autoescape(["html.jinja"]),
    undefined=jinja2.StrictUndefined,
)

# Inches of a figure that may shrink to the width of the page, some ten, and be read.
_READABLE = 14.0


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading, what was measured and how, and the result.

    Args:
        title: The heading.
        sentence: What the table or figure shows and how it was measured.
        table: The numbers.
        draw: Draws the figure of the section, if it has one.
        figure_name: The figure's file name without ending.
        figure_text: What the figure shows, for those who cannot see it.
        wide: Whether the figure needs the width of the page.
        statements: Results in words, each of which stands by itself.
    """

    title: str
    sentence: str
    table: Table | None = None
    draw: Callable[[], Figure] | None = None
    figure_name: str = ""
    figure_text: str = ""
    wide: bool = False
    statements: Sequence[str] = ()


def text(sections: Sequence[Section]) -> str:
    """The tables and statements for a terminal."""
    parts = []
    for section in sections:
        words = [textwrap.fill(each, 88) for each in section.statements]
        words.append(textwrap.fill(section.sentence, 88) + "\n")
        if section.table is not None:
            words.append(section.table.text() + "\n")
        if section.statements or section.table is not None:
            parts.append("\n".join([section.title, *words]))
    return "\n".join(parts)


def markdown(title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The same as Markdown, with figures beside it as `NAME.png`."""
    template = _TEMPLATES.get_template("page.md.jinja")
    return template.render(title=title, facts=facts, sections=sections)


def page(title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The same as one HTML page that needs nothing else.

    Args:
        title: Heading and title of the page.
        facts: Settings and versions by name.
        sections: Tables and figures, in order.

    Returns:
        The page, ASCII.
    """
    template = _TEMPLATES.get_template("page.html.jinja")
    whole = template.render(title=title, facts=facts, sections=sections, drawn=_drawn)
    whole = whole.replace(" +- ", " &plusmn; ")
    return whole.encode("ascii", "xmlcharrefreplace").decode()


class _Drawn(NamedTuple):
    """A figure as data URLs, and what its element is given."""

    light: str
    dark: str
    attributes: Markup


def _drawn(section: Section) -> _Drawn:
    assert section.draw is not None  # noqa: S101  Asked of sections with a figure.
    (light, inches), (dark, _) = (
        _svg(section.draw, style) for style in ("default", "dark_background")
    )
    kind = Markup(' class="wide"' if section.wide else "")
    if inches > _READABLE:
        kind = Markup(
            ' class="scroll" role="region" tabindex="0" aria-label="{}"'
        ).format(section.figure_text)
    return _Drawn(light, dark, kind)


def _svg(draw: Callable[[], Figure], style: str) -> tuple[str, float]:
    """A figure as a data URL, and its width in inches.

    Letters are drawn as paths, so no font is needed.
    """
    # The salt names what is shared inside the file, the same on every run.
    with matplotlib.style.context(
        [style, {"svg.hashsalt": "evaluation", "grid.color": "0.5"}]
    ):
        buffer, figure = io.BytesIO(), draw()
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            bbox_inches="tight",
            metadata={"Date": None},
        )
    content = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/svg+xml;base64,{content}", float(figure.get_figwidth())
