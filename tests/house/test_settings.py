"""A setting that nothing reads is a promise that nothing keeps."""

from __future__ import annotations

import ast
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from orchestrator.models.quota import Quota
from orchestrator.settings import SECTIONS, Settings, names
from web.access.limits import RouteClass

ROOT = Path(__file__).parents[2]
#: Read by the names of an enumeration: each of its words is a setting.
BY_WORD = {"quotas": set(map(str, Quota)), "limits": set(map(str, RouteClass))}


@cache
def attributes() -> list[set[str]]:
    """Return the names that each file of the product reads, but for the settings' own."""
    found = []
    for folder in ("orchestrator", "workers", "web"):
        for path in (ROOT / folder).rglob("*.py"):
            if path != ROOT / "orchestrator/settings.py":
                tree = list(ast.walk(ast.parse(path.read_text())))
                read = {node.attr for node in tree if isinstance(node, ast.Attribute)}
                imports = [node for node in tree if isinstance(node, ast.ImportFrom)]
                found.append(read | {alias.name for node in imports for alias in node.names})
    return found


def is_read(section: str, name: str) -> bool:
    """Whether a file reads it, and names the section: as an attribute, or by its class."""
    section_names = {section, type(SECTIONS[section]).__name__}
    return any(name in known and section_names & known for known in attributes())


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_of_a_section_is_read(section: str) -> None:
    named = {field.name for field in fields(SECTIONS[section])}
    unread = {name for name in named if not is_read(section, name)}
    assert unread - BY_WORD.get(section, set()) == set()


def test_every_setting_without_a_section_is_read() -> None:
    plain = {field.name for field in fields(Settings)} - SECTIONS.keys()
    assert {name for name in plain if not any(name in known for known in attributes())} == set()
    assert {f"ZQ_{name}".upper() for name in plain - {"origins"}} <= names().keys()


def test_the_words_of_an_enumeration_are_settings() -> None:
    for section, words in BY_WORD.items():
        assert words <= {field.name for field in fields(SECTIONS[section])}
