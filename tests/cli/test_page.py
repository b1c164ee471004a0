"""The HTML page holds what it was given, and needs nothing else."""

import base64
import dataclasses
import functools
import html.parser
import xml.etree.ElementTree

import pytest
from matplotlib.figure import Figure

from tfrobust.cli.page import Section, markdown, page, text
from tfrobust.cli.tables import Column, Table, percent


def draw():
    figure = Figure()
    figure.subplots().plot([0, 1], [0, 1])
    return figure


NAME = "<script>alert('x')</script> & co"
SECTIONS = [
    Section(
        "Accuracy & more",
        "What it shows. +- is one standard error.",
        Table(
            [Column("eps", numeric=False), Column(NAME, percent), Column("b", percent)],
            [["0.05", (0.5, 0.01), None], ["8/255", (0.25, 0.02), (1.0, 0.0)]],
        ),
        draw,
        "curve",
        "A line <rising>.",
    ),
    Section("Second", "Words only."),
]
FACTS = {"model <a>": "x", "seed": "0"}


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes, and the text of headings and cells."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.links, self.cells, self.heads = [], [], [], []
        self.inside = ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [v for k, v in attrs if k in ("src", "srcset", "href")]
        self.inside = tag
        if tag in ("th", "td"):
            self.cells.append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside in ("th", "td"):
            self.cells[-1] += data.strip()
        elif self.inside in ("h1", "h2", "h3") and data.strip():
            self.heads.append((self.inside, data.strip()))


@pytest.fixture(scope="module")
def content():
    return page("Evaluation on <data>", FACTS, SECTIONS)


def test_cells_and_headings_are_those_given(content):
    """Every number with its sign; names are text, never markup."""
    reader = Reader(content)
    assert reader.heads == [
        ("h1", "Evaluation on <data>"),
        ("h2", "Accuracy & more"),
        ("h2", "Second"),
        ("h2", "Settings"),
    ]
    assert reader.cells == [
        "eps",
        NAME,
        "b",
        "0.05",
        "50.0% \u00b1 1.0%",
        "-",
        "8/255",
        "25.0% \u00b1 2.0%",
        "100.0% \u00b1 0.0%",
    ]
    assert "script" not in [tag for tag, _ in reader.tags]


def test_nothing_is_loaded_from_elsewhere(content):
    """Links are data, and there is no style that would fetch anything."""
    reader = Reader(content)
    assert len(reader.links) == 2
    assert all(link.startswith("data:image/svg+xml;base64,") for link in reader.links)
    assert "link" not in [tag for tag, _ in reader.tags]
    assert "url(" not in content and "@import" not in content
    assert content.isascii()


def test_figures_are_svg_for_light_and_dark(content):
    """Both decode to drawings, of different colours, without letters from a font."""
    drawings = []
    for link in Reader(content).links:
        raw = base64.b64decode(link.partition(",")[2])
        root = xml.etree.ElementTree.fromstring(raw)
        assert root.tag.endswith("svg")
        assert not root.findall(".//{http://www.w3.org/2000/svg}text")
        drawings.append(raw)
    assert drawings[0] != drawings[1]


def test_fit_for_a_phone(content):
    """The viewport is set and every table scrolls in a box of its own."""
    tags = Reader(content).tags
    views = [a["content"] for t, a in tags if t == "meta" and a.get("name")]
    assert views == ["width=device-width, initial-scale=1"]
    before = [tags[k - 1] for k, (tag, _) in enumerate(tags) if tag == "table"]
    assert [(t, a["class"]) for t, a in before] == [("div", "scroll")]
    assert "prefers-color-scheme: dark" in content


def test_a_wide_figure_may_take_the_page(content):
    """It says so to the style, and others do not."""
    wide = page("t", {}, [dataclasses.replace(SECTIONS[0], wide=True)])
    classes = [
        [attrs.get("class") for tag, attrs in Reader(page).tags if tag == "figure"]
        for page in (content, wide)
    ]
    assert classes == [[None], ["wide"]]
    assert "figure.wide img { max-width: 100%; }" in wide


def test_a_figure_that_could_not_be_read_small_scrolls():
    """At its own size, in a box that the keyboard reaches; one of 14 inches shrinks."""
    kinds = []
    for inches in (14.0, 14.5):
        draw = functools.partial(Figure, figsize=(inches, 2))
        section = dataclasses.replace(SECTIONS[0], draw=draw, wide=True)
        content = page("t", {}, [section])
        (attrs,) = (a for tag, a in Reader(content).tags if tag == "figure")
        kinds.append((attrs["class"], attrs.get("tabindex")))
    assert kinds == [("wide", None), ("scroll", "0")]
    assert "figure.scroll img { width: auto; max-width: none; }" in content


def test_the_same_page_twice():
    """No time and no random name in it: results can be compared by their bytes."""
    assert page("t", FACTS, SECTIONS) == page("t", FACTS, SECTIONS)


def test_markdown_and_text():
    """The same tables; figures by the name of their file."""
    written = markdown("Title", FACTS, SECTIONS)
    assert written.startswith("# Title\n\n- model <a>: x\n- seed: 0\n\n## Accuracy")
    assert SECTIONS[0].table.markdown() in written
    assert "![A line <rising>.](curve.png)" in written
    shown = text(SECTIONS)
    assert SECTIONS[0].table.text() in shown and "Words only" not in shown


def test_statements_come_before_the_sentence():
    """On the page, in Markdown and on the terminal, where a table need not follow."""
    said = Section("Verdict", "How it came.", statements=["a: <1> +- 2.", "b: 3."])
    whole = page("x", {}, [said, SECTIONS[1]])
    assert (
        '<h2>Verdict</h2>\n<p class="result">a: &lt;1&gt; &plusmn; 2.</p>\n'
        '<p class="result">b: 3.</p>\n<p>How it came.</p>'
    ) in whole
    assert "<h2>Second</h2>\n<p>Words only.</p>" in whole
    marked = markdown("x", {}, [said, SECTIONS[1]])
    expected = "## Verdict\n\n- a: <1> +- 2.\n- b: 3.\n\nHow it came.\n"
    assert expected in marked and "## Second\n\nWords only.\n" in marked
    assert text([said, SECTIONS[1]]) == "Verdict\na: <1> +- 2.\nb: 3.\nHow it came.\n"
