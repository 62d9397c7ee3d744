"""The documents as the tests see them: pages, their fenced blocks, and the notes above a block.

A note is an HTML comment directly above a fence, one a line: `<!-- not-run: the reason -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: Of a recipe, which `test_extend.py` follows in a copy of the tree.
RECIPE = {
    # the block is a new file: its path
    "create",
    # a file is copied first: path | new path
    "copy",
    # the block comes behind a line, or takes its place: path | the line, without its indentation
    "after",
    "replace",
    # the block is run when the edits are made: what it prints, among other things
    "check",
}
#: What a note may say. Any other comment above a fence is a mistake.
NOTES = {
    # a reason: the block is not run at all
    "not-run",
    # sh, text: what the block before prints
    "prints",
    # yaml: run it with this JSON input; json: the output of the run before
    "input",
    "output",
    # yaml: a reason why it is validated only
    "validate-only",
    # json: the OpenAPI schema, or `frame`, whose keys it must have
    "shape",
    # python: a file that exists, by this name, before everything starts
    "file",
    # json: what the tables of this page read
    "scope",
    *RECIPE,
}
_NOTE = re.compile(r"<!-- ([a-z-]+)(?:: (.*))? -->\Z")
_FENCE = re.compile(r"```([a-z]*)\s*\Z")
#: Marks that begin and end parts, which are no notes.
_MARK = re.compile(r"<!-- (?:[a-z]+:(?:begin|end)|/?generated.*) -->\Z")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str
    notes: dict[str, str]

    @property
    def runs(self) -> bool:
        """Return whether a test may run it. A decision's script was measured once, on that day."""
        elsewhere = self.page.startswith("docs/decisions/") or self.page == "CONTRIBUTING.md"
        return not self.notes.keys() & {"not-run", *RECIPE} and not elsewhere

    @property
    def name(self) -> str:
        """Return a place people can click on."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return every document, the README first."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def title(page: Path) -> str:
    """Return a page's path as people write it."""
    return str(page.relative_to(ROOT))


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """Return the blocks of a page, in order. AssertionError for a fence that does not end."""
    return tuple(_read(title(page), page.read_text().splitlines()))


def all_blocks(language: str) -> list[Block]:
    """Return the blocks of a language from all pages."""
    return [block for page in pages() for block in blocks(page) if block.language == language]


def _read(page: str, lines: list[str]) -> Iterator[Block]:
    notes: dict[str, str] = {}
    opened: tuple[int, str] | None = None
    text: list[str] = []
    for number, line in enumerate(lines, 1):
        if opened is not None:
            if line.rstrip() == "```":
                yield Block(page, opened[0], opened[1], "\n".join(text) + "\n", notes)
                opened, text, notes = None, [], {}
            else:
                text.append(line)
        elif fence := _FENCE.match(line):
            opened = number, fence[1]
        elif (note := _NOTE.match(line)) and not _MARK.match(line):
            notes[note[1]] = note[2] or ""
        elif line.strip() and not _MARK.match(line):
            assert not notes, f"{page}:{number}: a note must stand directly above a fence: {notes}"
    if opened is not None:
        raise AssertionError(f"{page}:{opened[0]}: the fence does not end")


_SAME = (
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z"), "AT"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:\.\d+(?:Z|[+-]\d\d(?::\d\d)?)?)?(?!\w)"), "TIME"),
    (re.compile(r"(?<=127\.0\.0\.1:)\d+"), "PORT"),
    (re.compile(r"\b\d+(?:\.\d+)?(?= (?:ms|s)\b)"), "N"),
    (re.compile(r"\b\d+ (?:seconds|minutes) ago\b|\bjust now\b"), "AGO"),
    (re.compile(r"\S*/\.zq(?=/|\b)"), "HOME"),
    (re.compile(r" +"), " "),
)


def normal(line: str) -> str:
    """Return a printed line without what differs from run to run: ids, times, ports, paths."""
    for pattern, name in _SAME:
        line = pattern.sub(name, line)
    return line.rstrip()
