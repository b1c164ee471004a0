"""One self-contained HTML page of tables and figures; also as Markdown and as text.

The page loads nothing: its style and its figures, drawn once for light and once for
dark screens, are inside.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence

import matplotlib.style
from matplotlib.figure import Figure

from tfrobust.cli.tables import Table

_STYLE = """
:root { color-scheme: light dark; --text: #1c1e21; --soft: #5b6168; --page: #ffffff;
  --line: #d9dde2; --band: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e8eb; --soft: #a2a9b1; --page: #16181b; --line: #3a3f46;
    --band: #1f2226; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  -webkit-text-size-adjust: 100%; }
main, header, footer { max-width: 64rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 1.5rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .3rem; }
p { margin: .3rem 0 .8rem; max-width: 42rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%;
  font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .45rem .75rem; white-space: nowrap; text-align: right; }
th { font-weight: 600; }
thead th { white-space: normal; overflow-wrap: break-word; max-width: 12rem;
  vertical-align: bottom; }
thead th:first-child { text-align: left; }
thead th { border-bottom: 1px solid var(--line); color: var(--soft); }
tbody tr:nth-child(even) > * { background: var(--band); }
.word { text-align: left; }
td.word { white-space: normal; overflow-wrap: anywhere; }
tbody th { text-align: left; position: sticky; left: 0; background: var(--page);
  white-space: normal; min-width: 4.5rem; max-width: 12rem; }
figure { margin: .8rem 0; }
figure img { display: block; width: 100%; max-width: 34rem; height: auto; }
figure.wide img { max-width: 100%; }
figure.scroll { padding: .5rem; }
figure.scroll img { width: auto; max-width: none; }
@media (max-width: 40rem) {
  th, td { padding: .35rem .5rem; }
  table { font-size: .82rem; }
  tbody th { max-width: 6.5rem; } }
footer { color: var(--soft); font-size: .85rem; padding-top: 1.5rem;
  padding-bottom: 2rem; }
"""


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
    """

    title: str
    sentence: str
    table: Table | None = None
    draw: Callable[[], Figure] | None = None
    figure_name: str = ""
    figure_text: str = ""
    wide: bool = False


def text(sections: Sequence[Section]) -> str:
    """The tables for a terminal."""
    parts = []
    for section in sections:
        if section.table is not None:
            sentence = textwrap.fill(section.sentence, 88)
            parts += [f"{section.title}\n{sentence}\n\n{section.table.text()}\n"]
    return "\n".join(parts)


def markdown(title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The same as Markdown, with figures beside it as `NAME.png`."""
    parts = [f"# {title}"]
    parts += ["\n".join(f"- {name}: {value}" for name, value in facts.items())]
    for section in sections:
        parts += [f"## {section.title}", section.sentence]
        if section.table is not None:
            parts.append(section.table.markdown())
        if section.draw is not None:
            parts.append(f"![{section.figure_text}]({section.figure_name}.png)")
    return "\n\n".join(parts) + "\n"


def page(title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The same as one HTML page that needs nothing else.

    Args:
        title: Heading and title of the page.
        facts: Settings and versions by name.
        sections: What was found, in order.

    Returns:
        The page, ASCII.
    """
    body = "\n".join(_section(section) for section in sections)
    stated = "<br>\n".join(
        f"{_escape(name)}: {_escape(value)}" for name, value in facts.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{_escape(title)}</h1>
</header>
<main>
{body}
</main>
<footer>
<h2>Settings</h2>
<p>{stated}</p>
</footer>
</body>
</html>
"""


def _section(section: Section) -> str:
    parts = [
        f"<h2>{_escape(section.title)}</h2>",
        f"<p>{_escape(section.sentence)}</p>",
    ]
    if section.table is not None:
        parts.append(_table(section.title, section.table))
    if section.draw is not None:
        parts.append(_figure(section.draw, section.figure_text, section.wide))
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _table(title: str, table: Table) -> str:
    """A table in a box of its own that scrolls where the screen is narrow."""
    heads = "".join(
        f'<th scope="col"{_word(column.numeric)}>{_escape(column.title)}</th>'
        for column in table.columns
    )
    rows = []
    for first, *rest in table.shown():
        cells = "".join(
            f"<td{_word(column.numeric)}>{_escape(cell)}</td>"
            for column, cell in zip(table.columns[1:], rest, strict=True)
        )
        name = _escape(first)
        rows.append(f'<tr><th scope="row" title="{name}">{name}</th>{cells}</tr>')
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_escape(title)}">'
        f"\n<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody>\n</table>\n</div>"
    )


def _word(numeric: bool) -> str:
    return "" if numeric else ' class="word"'


def _figure(draw: Callable[[], Figure], alt: str, wide: bool) -> str:
    (light, inches), (dark, _) = (
        _svg(draw, style) for style in ("default", "dark_background")
    )
    kind = ' class="wide"' if wide else ""
    if inches > _READABLE:
        kind = f' class="scroll" role="region" tabindex="0" aria-label="{_escape(alt)}"'
    return (
        f"<figure{kind}><picture>\n"
        f'<source srcset="{dark}" media="(prefers-color-scheme: dark)">\n'
        f'<img src="{light}" alt="{_escape(alt)}">\n'
        "</picture></figure>"
    )


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
            buffer, format="svg", transparent=True, bbox_inches="tight",
            metadata={"Date": None},
        )  # fmt: skip
    content = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/svg+xml;base64,{content}", float(figure.get_figwidth())


def _escape(words: str) -> str:
    """Text for HTML, in ASCII, with the sign for plus or minus."""
    escaped = html.escape(words).replace(" +- ", " &plusmn; ")
    return escaped.encode("ascii", "xmlcharrefreplace").decode()
