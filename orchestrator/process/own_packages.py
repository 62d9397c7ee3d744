"""Our packages have everybody's names, so two may meet: a user's `workers` and ours.

In our processes ours come first, and the working folder is searched last, for the modules that a
deployment names. In a process of a user's, where his stands before ours, what his does not have is
found in ours: see decision 0012.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

NAMES = ("orchestrator", "workers", "web", "migrations")
#: The folder that holds them.
ROOT = str(Path(__file__).parents[2])
#: A module of ours that offers functions to nodes; `zq up` names it where the demo runs.
DEMO = "workers.demo.functions"


def command(module: str, *words: str) -> list[str]:
    """Return how a Python process of ours is started: `python -m`, without the working folder."""
    return [sys.executable, "-P", "-m", module, *words]


def search_path(environment: Mapping[str, str]) -> str:
    """Return the PYTHONPATH with which such a process finds the packages as this one did."""
    known = environment.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(_in_order([*filter(None, known), ROOT]))


def come_first() -> None:
    """Let this process import nothing from the working folder, and our packages from ours."""
    if not sys.flags.safe_path and sys.path and _is_working_folder(sys.path[0]):
        del sys.path[0]
    sys.path[:] = _in_order([*sys.path, ROOT])


def _is_working_folder(folder: str) -> bool:
    here = str(Path.cwd())
    return folder in {"", here} and here != ROOT


def _in_order(folders: Sequence[str]) -> list[str]:
    """Put the folders that hide our packages behind ours, and leave the others as they are."""
    found = list(dict.fromkeys(folders))
    before = found[: found.index(ROOT)]
    hiding = [folder for folder in before if _hides(folder)]
    first = [folder for folder in before if folder not in hiding]
    return [*first, ROOT, *hiding, *found[len(before) + 1 :]]


def _hides(folder: str) -> bool:
    places = (Path(folder) / name for name in NAMES)
    return any(place.is_dir() or place.with_suffix(".py").is_file() for place in places)


def is_ours(module: str) -> bool:
    """Tell whether a module's name is one of ours, or below one."""
    return module.partition(".")[0] in NAMES


class _Source(SourceFileLoader):
    """Loads a user's `workers.py` as it is, and lets modules be looked for below that name."""

    def exec_module(self, module: ModuleType) -> None:
        """See the base."""
        super().exec_module(module)
        module.__path__ = []


class Modules:
    """Finds a user's module of such a name, before all others do: what is below it is ours."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Look where Python looks; None for a package and for ours."""
        spec = PathFinder.find_spec(name) if name in NAMES else None
        if spec is None or spec.origin is None or type(spec.loader) is not SourceFileLoader:
            return None
        if spec.submodule_search_locations is None:
            spec.loader = _Source(name, spec.origin)
            return spec
        return None


class Fallback:
    """Finds what a user's package of the same name does not have; the last of all finders."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Look beside the package that was found; ModuleNotFoundError, with both, for nothing."""
        parent = name.rpartition(".")[0]
        if not parent or not is_ours(parent):
            return None
        spec = PathFinder.find_spec(name, [str(Path(ROOT, *parent.split(".")))])
        if spec is None and (why := _why(name)):
            raise ModuleNotFoundError(why, name=name)
        return spec


def _why(name: str) -> str:
    """Return, for a module that was not found, which two packages have met; "" for none."""
    top = name.partition(".")[0]
    ours, found = str(Path(ROOT) / top), sys.modules.get(top)
    # A package without `__init__.py` has no file, but folders.
    place = getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", ())), ours)
    theirs = _in_working_folder(top) if place.startswith(ours) else place
    if theirs is None:
        return ""
    return (
        f"No module named {name!r}: {theirs} and ZQAutoNXG's own {ours} have the same name."
        " Rename yours"
    )


def _in_working_folder(top: str) -> str | None:
    """Return a user's package that ours hides in this process."""
    here = Path.cwd()
    places = (here / top, here / f"{top}.py")
    return next((str(place) for place in places if place.exists() and str(here) != ROOT), None)


def install() -> None:
    """Let this process find what is hidden."""
    if any(isinstance(finder, Fallback) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Modules())
    sys.meta_path.append(Fallback())
    for name in NAMES:
        known = sys.modules.get(name)
        if known is not None and not hasattr(known, "__path__"):
            known.__path__ = []
