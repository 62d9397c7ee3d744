"""The recipes of `docs/how-to/extend.md`, each followed in a copy of the tree."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Databases
from tests.docs.pages import DOCS, RECIPE, ROOT, Block, blocks, title

PAGE = DOCS / "how-to" / "extend.md"
PRODUCT = ("orchestrator", "workers", "web", "migrations")
#: What the checks need beside the product.
HELP = (
    "__init__.py", "factories.py", "servers.py", "api/__init__.py", "api/conftest.py",
    "docs/__init__.py", "docs/recipes.py",
)  # fmt: skip
#: The most files that each kind of thing may take. More is a fault of the tree, not of this table.
MOST = {
    "A node type": 2,
    "A route": 2,
    "A table": 6,
    "A verb of the command line": 1,
    "A setting": 1,
    "A metric": 2,
    "A field of an event": 6,
    "A column of a run": 8,
}
_HEADING = re.compile(r"^## (.+)$")
_LISTED = re.compile(r"^- `([\w/.]+)`: ")
_COUNTED = re.compile(r"^\| \[[^\]]+\]\(#([\w-]+)\) \| (\d+) \|$", re.MULTILINE)


def numbers() -> tuple[str, str]:
    """Return the newest revision and the one that comes next."""
    found = [int(path.name[:4]) for path in (ROOT / "migrations/versions").glob("[0-9]*.py")]
    return f"{max(found):04}", f"{max(found) + 1:04}"


def filled(text: str) -> str:
    """Put the numbers of revisions in."""
    newest, coming = numbers()
    return re.sub(r"\bLAST\b", newest, re.sub(r"NEXT(?=_|\b)", coming, text))


def recipes() -> dict[str, tuple[set[str], list[Block]]]:
    """Return, by heading, the files that a recipe lists and its blocks."""
    lines = PAGE.read_text().splitlines()
    starts = {no: found[1] for no, line in enumerate(lines, 1) if (found := _HEADING.match(line))}
    ends = [*list(starts)[1:], len(lines) + 1]
    return {
        name: (
            {filled(f[1]) for line in lines[start:end] if (f := _LISTED.match(line))},
            [b for b in blocks(PAGE) if start < b.line < end and b.notes.keys() & RECIPE],
        )
        for (start, name), end in zip(starts.items(), ends, strict=True)
    }


RECIPES = recipes()


def test_each_kind_of_thing_has_a_recipe_and_the_page_counts_its_files() -> None:
    assert RECIPES.keys() == MOST.keys()
    anchors = {name.lower().replace(" ", "-"): len(files) for name, (files, _) in RECIPES.items()}
    assert {anchor: int(n) for anchor, n in _COUNTED.findall(PAGE.read_text())} == anchors


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_whole_and_works(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    listed, steps = RECIPES[name]
    tree = copied(tmp_path / "tree")
    for block in steps:
        edit(tree, block)
    touched = differing(tree)
    assert touched == listed
    assert len(touched) <= MOST[name]
    python = [str(tree / path) for path in touched if path.endswith(".py")]
    subprocess.run(
        [sys.executable, "-m", "ruff", "check", "-q", "--select=E,F", *python], check=True
    )
    checks = [block for block in steps if "check" in block.notes]
    assert len(checks) == 1
    wanted = {"ZQ_HOME": str(tmp_path / "home")}
    if any(path.startswith("migrations/") for path in touched):
        databases: Databases = request.getfixturevalue("databases")
        wanted["ZQ_DATABASE__URL"] = databases.migrated()
    printed = run(checks[0], tree, wanted, tmp_path / "work")
    assert checks[0].notes["check"] in printed, printed


def copied(tree: Path) -> Path:
    """Copy the product, with what Python has compiled of it, and what the checks need."""
    for folder in PRODUCT:
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("node_modules"))
    for path in HELP:
        (tree / "tests" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / "tests" / path, tree / "tests" / path)
    return tree


def edit(tree: Path, block: Block) -> None:
    """Make the edit that a block's notes ask for."""
    for kind, note in block.notes.items():
        path, _, rest = filled(note).partition(" | ")
        file, text = tree / path, filled(block.text)
        if kind == "create":
            assert not file.exists(), f"{block.name}: {path} is there"
            file.write_text(text)
        elif kind == "copy":
            assert not (tree / rest).exists(), f"{block.name}: {rest} is there"
            shutil.copy2(file, tree / rest)
        elif kind in {"after", "replace"}:
            lines = file.read_text().splitlines(keepends=True)
            places = [no for no, line in enumerate(lines) if line.strip() == rest]
            assert len(places) == 1, f"{block.name}: {len(places)} lines of {path} are {rest}"
            first = places[0] + (kind == "after")
            file.write_text("".join([*lines[:first], text, *lines[places[0] + 1 :]]))


def differing(tree: Path) -> set[str]:
    """Return the files of the copy that the checkout does not have, or has otherwise."""
    found = set()
    for path in tree.rglob("*"):
        name = path.relative_to(tree)
        if path.is_file() and "__pycache__" not in name.parts:
            ours = ROOT / name
            if not ours.exists() or not filecmp.cmp(path, ours, shallow=False):
                found.add(str(name))
    return found


def run(block: Block, tree: Path, more: dict[str, str], work: Path) -> str:
    """Run a check as users' processes run, with the copy's packages; return what it printed."""
    work.mkdir()
    shim = work.parent / "bin"
    shim.mkdir()
    for name, module in (("python", ""), ("zq", "-m orchestrator.cli")):
        script = shim / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P {module} "$@"\n')
        script.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith("ZQ_")}
    env |= {"PYTHONPATH": str(tree), "PATH": f"{shim}{os.pathsep}{env['PATH']}", **more}
    where = "import orchestrator as o, web, workers; print(o.__file__, web.__file__)"
    start = {"sh": ["sh", "-e", "-c"], "python": ["python", "-c"]}[block.language]
    said = ""
    for command in (["python", "-c", where], [*start, block.text]):
        done = subprocess.run(
            command, env=env, cwd=work, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{block.name}: {done.stdout}{done.stderr}"
        said = said or done.stdout
        last = done.stdout
    assert said.count(str(tree)) == 2, f"{title(PAGE)}: not the copy's packages: {said}"
    return last
