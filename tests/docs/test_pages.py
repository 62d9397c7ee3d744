"""The documents hold together: links, tags, generated parts, and few blocks that are not run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from orchestrator.services.definitions.reading import from_yaml, read_definition, shape_of
from tests.docs import generated
from tests.docs.pages import DOCS, NOTES, RECIPE, ROOT, Block, all_blocks, blocks, pages, title
from tests.docs.parts_cli import walk

#: What a fence may be tagged with.
LANGUAGES = {"sh", "python", "yaml", "json", "text", "mermaid", "sql"}
#: Blocks that no test runs; each says why. More need a good reason and this number.
MOST_NOT_RUN = 9
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PAGES = pytest.mark.parametrize("page", pages(), ids=title)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@PAGES
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_FENCED.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{title(page)}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{title(page)}: {link}"


@PAGES
def test_fences_are_tagged_and_notes_are_known(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES or page.name == "CONTRIBUTING.md", block.name
        assert block.notes.keys() <= NOTES, f"{block.name}: {block.notes}"
        for note in ("not-run", "validate-only"):
            assert block.notes.get(note) != "", f"{block.name} says no reason"


@PAGES
def test_generated_parts_say_what_the_code_says(page: Path) -> None:
    text = page.read_text()
    assert text.count("<!-- generated: ") == len(generated.named(text))
    assert text == generated.rewritten(text), "run `python -m tests.docs.generated`"


def test_every_generated_part_is_in_a_page() -> None:
    used = [name for page in pages() for name in generated.named(page.read_text())]
    assert sorted(used) == sorted(generated.PARTS)


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text()
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in _LINK.findall(index)}
    missing = {title(page) for page in DOCS.rglob("*.md")} - {
        str(path.relative_to(ROOT)) for path in linked if path.is_relative_to(ROOT)
    }
    assert missing == {"docs/index.md"}


def test_the_readme_shows_one_workflow_in_json_and_in_yaml() -> None:
    text = (ROOT / "README.md").read_text()
    json_form = re.search(r"\$api/workflows -d '(\{.*?\})' > hello.json", text, re.DOTALL)
    yaml_form = re.search(r"<<'YAML'\n(.*?)YAML\n", text, re.DOTALL)
    assert json_form is not None
    assert yaml_form is not None
    one, other = (meaning(form[1]) for form in (json_form, yaml_form))
    assert one == other
    assert one["inputs"]


def meaning(text: str) -> dict[str, Any]:
    """Return what a definition says, but for places of nodes and names of edges."""
    shape = shape_of(read_definition(from_yaml(text)))
    nodes = [{k: v for k, v in node.items() if k != "position"} for node in shape["nodes"]]
    edges = [{k: v for k, v in edge.items() if k != "id"} for edge in shape["edges"]]
    return {**shape, "nodes": nodes, "edges": edges}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


def not_run() -> list[Block]:
    """Return the blocks that no test runs."""
    found = [b for page in pages() for b in blocks(page)]
    elsewhere = [
        b for b in found if b.page.startswith("docs/decisions/") or b.notes.keys() & RECIPE
    ]
    told = [b for b in found if b not in elsewhere]
    return [b for b in told if b.language in {"sh", "python"} and not b.runs]


def test_few_blocks_are_not_run() -> None:
    assert 0 < len(not_run()) <= MOST_NOT_RUN


#: A recipe's check calls what the recipe adds.
COMMANDS = [block for block in all_blocks("sh") if not block.notes.keys() & RECIPE]


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.name)
def test_commands_exist_also_where_they_are_not_run(block: Block) -> None:
    commands = dict(walk())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True) if line.startswith(("zq ", "make ")) else []
        if words and words[0] == "make":
            assert words[1] in targets, f"{block.name}: {line}"
        elif words:
            check_command(words, commands, f"{block.name}: {line}")


def check_command(
    words: list[str], commands: dict[tuple[str, ...], click.Command], where: str
) -> None:
    """Check that the words name a command, and its options are known to it."""
    path: tuple[str, ...] = ("zq",)
    while len(words) > len(path) and (*path, words[len(path)]) in commands:
        path = (*path, words[len(path)])
    assert len(path) > 1, where
    known = {
        name for option in commands[path].params for name in [*option.opts, *option.secondary_opts]
    }
    given = {word.partition("=")[0] for word in words[len(path) :] if re.match(r"-+[a-z]", word)}
    assert given <= known | {"--help", "-h"}, where
