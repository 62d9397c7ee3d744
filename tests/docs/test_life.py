"""Every name on `docs/life-of-a-task.md` is there: files, what they define, database functions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

TEXT = (DOCS / "life-of-a-task.md").read_text()
CODE = [code.replace("\n", "") for code in re.findall(r"`([^`]+)`", TEXT)]
PLACES = sorted({code for code in CODE if code.startswith(("orchestrator/", "web/", "workers/"))})
FUNCTIONS = sorted({code for code in CODE if code.startswith("zq_")})
_DEFINED = re.compile(r"CREATE (?:OR REPLACE )?FUNCTION (zq_\w+)_v(\d+)\(")
_ROW = re.compile(r"^\| `(zq_\w+)` \| (.+?) \|", re.MULTILINE)


def defined() -> dict[str, tuple[int, str]]:
    """Return the functions of the migrations: name -> (newest version, the text of its file)."""
    found: dict[str, tuple[int, str]] = {}
    for path in (ROOT / "migrations/functions").glob("*.sql"):
        text = path.read_text()
        for name, version in _DEFINED.findall(text):
            found[name] = max(found.get(name, (0, "")), (int(version), text))
    return found


def holds(body: list[ast.stmt], names: list[str]) -> bool:
    """Whether statements define a name, and what comes after the dot in it."""
    for node in body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        called = {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            called = {node.name}
        if names[0] in called:
            inner = node.body if isinstance(node, ast.ClassDef) else []
            return len(names) == 1 or holds(inner, names[1:])
    return False


def test_the_page_names_enough_to_be_looked_up() -> None:
    assert len(PLACES) > 40
    assert len(FUNCTIONS) > 15


@pytest.mark.parametrize("place", PLACES)
def test_a_place_is_there(place: str) -> None:
    path, _, name = place.partition(":")
    file: Path = ROOT / path
    assert file.exists()
    if name:
        assert holds(ast.parse(file.read_text()).body, name.split("."))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_the_newest_of_its_name(function: str) -> None:
    name, _, version = function.rpartition("_v")
    assert defined()[name][0] == int(version)


def test_every_function_of_the_moves_is_told_of() -> None:
    newest = {f"{name}_v{version}" for name, (version, _) in defined().items()}
    assert newest - set(FUNCTIONS) == set()


@pytest.mark.parametrize(("caller", "called"), _ROW.findall(TEXT))
def test_a_function_calls_what_the_page_says(caller: str, called: str) -> None:
    text = defined()[caller.rpartition("_v")[0]][1]
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    assert all(f"{name}(" in code for name in re.findall(r"`(\w+)`", called))
