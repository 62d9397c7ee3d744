"""Files stay small, their names say what is in them, and tests wait in one place only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("orchestrator", "workers", "web", "migrations", "tests")
MAX_LINES = 400
VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "misc", "shared"}
#: Where a wait with a deadline lives, and the work that workers are given to take their time over.
MAY_SLEEP = {ROOT / "tests" / "waiting.py", ROOT / "tests" / "integration" / "functions.py"}


def sources(*folders: str) -> Iterator[Path]:
    """Yield the Python files of the project."""
    for folder in folders or FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not {"node_modules", "__pycache__"} & set(path.parts):
                yield path


def where(path: Path, line: int = 0) -> str:
    """Return a place people can click on."""
    return f"{path.relative_to(ROOT)}:{line}"


def test_there_are_sources() -> None:
    assert len(list(sources())) > 20


def test_files_stop_at_400_lines() -> None:
    lengths = {where(p): len(p.read_text().splitlines()) for p in sources()}
    assert {p: n for p, n in lengths.items() if n > MAX_LINES} == {}


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [where(p) for p in sources() if {p.stem.lower(), p.parent.name} & VAGUE] == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        where(path)
        for path in sources()
        if (text := path.read_text()).strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_tests_sleep_in_one_place_only() -> None:
    found = [
        where(path, call.lineno)
        for path in sources("tests")
        if path not in MAY_SLEEP
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and _name(call.func) in {"time.sleep", "sleep"}
    ]
    assert found == []


def test_nothing_is_left_for_later() -> None:
    found = [
        where(path, name.lineno)
        for path in sources()
        for name in ast.walk(ast.parse(path.read_text()))
        if isinstance(name, ast.Name) and name.id == "NotImplementedError"
    ]
    assert found == []


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""
