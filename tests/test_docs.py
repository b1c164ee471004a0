"""The documents: tables with whole rows, links that lead somewhere."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TABLES = sorted((REPOSITORY / "docs").rglob("*.md")) + [REPOSITORY / "README.md"]
LINKS = [*TABLES, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md"]

RULE = re.compile(r"\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?")
CODE = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
# `[text](target)` and `![text](target)`, with or without a title.
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")


def prose(text: str) -> list[str]:
    """The lines of `text`, those of fenced code blocks emptied."""
    lines, fence = [], ""
    for line in text.splitlines():
        mark = re.match(r" {0,3}(```+|~~~+)", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip().startswith(fence):
            fence, line = "", ""
        lines.append("" if fence else line)
    return lines


def cell_count(row: str) -> int:
    r"""Cells of a row; as on GitHub, only `\|` is no border, also inside code."""
    row = re.sub(r"\\\|", "", row.strip())
    return row.removeprefix("|").removesuffix("|").count("|") + 1


def table_faults(text: str) -> list[str]:
    """What keeps a table of `text` from being shown as its author meant it."""
    faults, columns = [], 0
    lines = ["", *prose(text), ""]
    for number, line in enumerate(lines):
        if columns:
            if not line.strip():
                columns = 0
            elif cell_count(line) != columns:
                faults.append(f"line {number}: {cell_count(line)} cells, not {columns}")
        elif line.lstrip().startswith("|"):
            if not RULE.fullmatch(lines[number + 1].strip()):
                faults.append(f"line {number}: a row outside of a table")
            elif lines[number - 1].strip():
                faults.append(f"line {number}: no empty line before the table")
            columns = cell_count(line)
    return faults


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of `text`."""
    seen: Counter[str] = Counter()
    found = set()
    for line in prose(text):
        if heading := re.fullmatch(r"#{1,6}\s+(.*?)\s*#*", line):
            words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return found


def targets(text: str) -> Iterator[str]:
    """Where the relative links and images of `text` point."""
    for link in LINK.finditer(CODE.sub("", "\n".join(prose(text)))):
        if not re.match(r"[a-z][a-z0-9+.-]*:|//", link[1]):
            yield link[1]


def link_faults(text: str, document: Path) -> list[str]:
    """Links of `text`, the content of `document`, that lead nowhere."""
    faults = []
    for target in targets(text):
        name, _, anchor = target.partition("#")
        path = document.parent / name
        if name and not path.exists():
            faults.append(f"{target}: no such file")
        elif anchor:
            page = path.read_text(encoding="utf-8") if name else text
            if anchor not in anchors(page):
                faults.append(f"{target}: no such heading")
    return faults


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("document", TABLES, ids=name)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(document):
    assert table_faults(document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("document", LINKS, ids=name)
def test_every_relative_link_and_image_exists(document):
    assert link_faults(document.read_text(encoding="utf-8"), document) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("| a | b |\n|---|---|\n| 1 |", ["line 3: 1 cells, not 2"]),
        ("| a | b |\n|---|---|\n| `x|y` | 2 |", ["line 3: 3 cells, not 2"]),
        ("| a |\n|---|\n| 1 |\n\n| 2 |", ["line 5: a row outside of a table"]),
        ("words\n| a |\n|---|", ["line 2: no empty line before the table"]),
        ("| a |\n|---|---|", ["line 2: 2 cells, not 1"]),
        ("| a | b |\n|:--|--:|\n| `x\\|y` | |", []),
        ("```\n| a |\n```\n", []),
    ],
)
def test_a_broken_table_is_reported(text, expected):
    assert table_faults(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](missing.md)", ["missing.md: no such file"]),
        ("![a\nb](missing.png)", ["missing.png: no such file"]),
        ("# Here it is\n[a](#there)", ["#there: no such heading"]),
        ("# Here it is, `now`\n[a](#here-it-is-now)", []),
        ("# Twice\n# Twice\n[a](#twice-1)", []),
        ("[a](page.md#top)", ["page.md#top: no such heading"]),
        ("[a](page.md#heading) [b](https://example.org/missing) `[c](missing)`", []),
        ("```\n[a](missing.md)\n```", []),
    ],
)
def test_a_broken_link_is_reported(text, expected, tmp_path):
    (tmp_path / "page.md").write_text("# Heading\n", encoding="utf-8")
    assert link_faults(text, tmp_path / "text.md") == expected


def test_every_kind_of_document_is_checked():
    assert {"README.md", "docs/RESULTS.md", "docs/results/lcnn.md"} <= {
        name(path) for path in LINKS
    }
