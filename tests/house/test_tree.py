"""The tree is the map: no folder is too full, each is on CONTRIBUTING.md and in a contract."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("orchestrator", "workers", "web")
MOST = 16
#: One file for each thing of a kind, however many there are.
CATALOGUES = {
    "web/api": "routes, by noun",
    "web/schemas": "shapes, by noun",
    "workers/handlers": "node types",
    "orchestrator/cli/commands": "verbs, by noun",
    "orchestrator/adapters/memory": "moves and reads, one file each",
    "migrations/versions": "revisions: what was released stays",
    "migrations/functions": "database functions: a changed one gets a new name",
}
NOT_OURS = {"ui", "node_modules", "__pycache__", "templates"}


def folders(*tops: str) -> list[Path]:
    """Return the packages of the product, the tops included, relative to the root."""
    found = [path.parent for top in tops for path in (ROOT / top).rglob("__init__.py")]
    return sorted(p.relative_to(ROOT) for p in found if not NOT_OURS & set(p.parts))


def sources(folder: Path) -> list[str]:
    names = [path for path in (ROOT / folder).iterdir() if path.suffix in {".py", ".sql"}]
    return sorted(path.name for path in names if path.name != "__init__.py")


def test_there_are_folders() -> None:
    assert len(folders(*PRODUCT)) > 40


def test_no_folder_has_more_files_than_one_takes_in_at_a_glance() -> None:
    full = {
        str(folder): len(sources(folder))
        for folder in folders(*PRODUCT, "migrations")
        if len(sources(folder)) > MOST and str(folder) not in CATALOGUES
    }
    assert full == {}


def test_the_catalogues_are_there() -> None:
    assert [name for name in CATALOGUES if not (ROOT / name).is_dir()] == []


def drawn() -> set[str]:
    """Return the folders that the part "Where things are" of CONTRIBUTING.md names."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    part = text.partition("## Where things are")[2].partition("\n## ")[0]
    found = set[str]()
    for path, braces in re.findall(r"`((?:\w+/)+)(?:\{([\w,]+)\}/)?`", part):
        found |= {f"{path}{name}" for name in braces.split(",")} if braces else {path.rstrip("/")}
    return found


def test_the_picture_names_every_room() -> None:
    rooms = {str(folder) for folder in folders(*PRODUCT) if 1 < len(folder.parts) <= 3}
    assert rooms - drawn() == set()


def test_the_picture_names_no_room_that_is_not_there() -> None:
    assert {name for name in drawn() if not (ROOT / name).is_dir()} == set()


def held() -> set[str]:
    """Return the packages that a contract of setup.cfg puts in their place."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    found = set[str]()
    for section in filter(lambda name: name.startswith("importlinter:contract:"), config):
        contract = config[section]
        for option in ("modules", "source_modules"):
            found |= set(contract.get(option, "").split())
        for container in contract.get("containers", "").split():
            lines = contract["layers"].splitlines()
            words = " ".join(line for line in lines if not line.startswith("#"))
            found |= {f"{container}.{name}" for name in re.findall(r"\w+", words)}
    return found


@pytest.mark.parametrize("folder", [str(f) for f in folders(*PRODUCT) if len(f.parts) > 1])
def test_a_contract_says_what_a_room_may_import(folder: str) -> None:
    # What stands below a room is held with it.
    parts = folder.split("/")[: 3 if folder.startswith("orchestrator/") else 2]
    assert ".".join(parts) in held()
