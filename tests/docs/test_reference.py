"""The reference pages leave nothing out: node types, error codes, settings and promises by name."""

from __future__ import annotations

import re

import pytest

from orchestrator.models.definitions.catalogue import CATALOGUE
from orchestrator.services.definitions.reading import from_yaml, read_definition
from tests.docs.pages import DOCS, ROOT, blocks
from tests.docs.parts_definition import config_tables

DEFINITIONS = DOCS / "definition-reference.md"


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_node_type_has_a_section_with_an_example(name: str) -> None:
    text = DEFINITIONS.read_text()
    section = re.search(rf"^### {name}\n(.*?)(?=^##)", text + "\n##", re.DOTALL | re.MULTILINE)
    assert section, f"no section for {name}"
    assert f"<!-- generated: config-{name} -->" in section[1]
    start = text[: section.start()].count("\n")
    end = text[: section.end()].count("\n")
    examples = [b for b in blocks(DEFINITIONS) if b.language == "yaml" and start < b.line <= end]
    used = {node.type for b in examples for node in read_definition(from_yaml(b.text)).nodes}
    assert name in used


def test_config_tables_name_every_field() -> None:
    for name, table in config_tables().items():
        for field in CATALOGUE[name].config_schema.get("properties", {}):
            assert f"| `{field}` |" in table()


def test_crashes_that_are_told_are_crashes_that_are_tested() -> None:
    text = (DOCS / "operations.md").read_text()
    tests = "".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", text)
    assert len(named) >= 10
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_settings_that_are_told_exist() -> None:
    from orchestrator.settings import names

    known = {*names(), *(f"{name}_FILE" for name in names())}
    # The second is what a recipe adds.
    known |= {"ZQ_SECTION__NAME", "ZQ_WEB__GREETING"}
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        told = set(re.findall(r"\bZQ_[A-Z]+(?:__[A-Z_]+[A-Z])?\b", page.read_text()))
        assert told <= known, page.name
