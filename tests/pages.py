"""The documentation pages as the tests read them: their blocks, their links and their anchors.

A fenced block of `console` or `python` is run by tests/test_docs.py. A comment on the line before changes that:

    <!-- not run: REASON -->    the block is listed as a skip with this reason
    <!-- slow: REASON -->       only the slow tests run the block
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .conftest import ROOT

_FOLDERS = (".", "docs", "examples", "samples", "plugins_cpp/*")
_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>not run|slow): (?P<reason>[^\n]+?) -->\n)?^```(?P<language>[^\n`]*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"")
_CODE_SPAN = re.compile(r"``.+?``|`[^`\n]+`")
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        page: the page, relative to the repository.
        number: the block's place among all fenced blocks of its page, from 1.
        language: the word behind the fence; empty where there is none.
        body: its lines; of a console, only the commands.
        mark: "not run", "slow" or "".
        reason: why it is marked.
    """

    page: str
    number: int
    language: str
    body: str
    mark: str
    reason: str


def pages() -> list[str]:
    """All Markdown pages, relative to the repository."""
    found = (path for folder in _FOLDERS for path in ROOT.glob(f"{folder}/*.md"))
    return sorted(str(path.relative_to(ROOT)) for path in found)


def blocks(page: str) -> Iterator[Block]:
    """All fenced blocks of a page, in order."""
    for number, fence in enumerate(_FENCE.finditer((ROOT / page).read_text()), 1):
        language, body = fence["language"], fence["body"]
        if language == "console":
            body = "\n".join(line[2:] for line in body.splitlines() if line.startswith("$ "))
        yield Block(page, number, language, body, fence["mark"] or "", fence["reason"] or "")


def runnable(page: str) -> list[Block]:
    """The blocks of a page that a reader can type, marked or not."""
    return [block for block in blocks(page) if block.language in ("console", "python")]


def prose(text: str) -> str:
    """Markdown without its fenced blocks."""
    return _FENCE.sub("", text)


def links(page: str) -> list[str]:
    """The targets of a page's links and images."""
    text = _CODE_SPAN.sub("", prose((ROOT / page).read_text()))
    return [markdown or html for markdown, html in _LINK.findall(text)]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings: lower case, without punctuation, hyphens for spaces, numbered if repeated."""
    found: dict[str, int] = {}
    for heading in _HEADING.findall(prose(path.read_text())):
        words = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found[words] = found.get(words, -1) + 1
    return {f"{words}-{n}" if n else words for words, count in found.items() for n in range(count + 1)}
