"""The words of a page, in a template of their own.

A template is a Jinja file of blocks, each a section: its title, its sentences, and the
text and file name of its figure if it has one.

    {% block stability %}
    # Stability of the gradient
    By how much the gradient changes, on {{ images }} images.
    ![Relative change against the radius.](gradient_stability)
    {% endblock %}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import jinja2

from tfrobust.cli.page import Section
from tfrobust.cli.tables import Table

_FIGURE = re.compile(r"!\[(?P<text>.*)\]\((?P<name>.*)\)", re.DOTALL)


class Prose:
    """The sections of a template.

    Args:
        package: The package that the template lies in.
        template: Its file name.
        **shared: What every block may use.
    """

    def __init__(
        self, package: str, template: str = "page.md.jinja", **shared: Any
    ) -> None:
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader(package, "."),
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._template = environment.get_template(template)
        self._shared = shared

    def section(
        self,
        block: str,
        table: Table | None = None,
        draw: Callable[[], Any] | None = None,
        *,
        wide: bool = False,
        statements: Sequence[str] = (),
        **values: Any,
    ) -> Section:
        """A section with the words of a block.

        Args:
            block: Name of the block.
            table: The numbers.
            draw: Draws the figure.
            wide: Whether the figure needs the width of the page.
            statements: Results in words.
            **values: What the block uses beside what all of them may.

        Raises:
            KeyError: If there is no such block.
        """
        context = self._template.new_context({**self._shared, **values})
        text = "".join(self._template.blocks[block](context)).strip()
        title, _, body = text.partition("\n")
        figure = _FIGURE.search(body)
        if figure:
            body = body[: figure.start()]
        return Section(
            title=title.removeprefix("# ").strip(),
            sentence=" ".join(body.split()),
            table=table,
            draw=draw,
            figure_name=figure["name"] if figure and draw else "",
            figure_text=" ".join(figure["text"].split()) if figure and draw else "",
            wide=wide,
            statements=statements,
        )
