"""What changed between two versions of a definition: by part, and as text. Reads `shape_of`'s form.

Where a node stands on the canvas counts; the ids of edges do not, since YAML has none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

from orchestrator.services.definitions.yaml_form import to_yaml

#: Longer texts are not compared line by line.
MAX_LINES = 20_000
#: Nor are those of which more is left, in lines of one times lines of the other, once what they
#: begin and end with alike is cut off: that may take as many comparisons.
MAX_COMPARED = 1_000_000
_CONTEXT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference. `before` is None for what was added, `after` for what was removed."""

    kind: str  #: added, removed or changed
    path: str  #: `nodes.fetch.data.config.url`, `edges.a.big->b`, `settings.retry.max_attempts`
    before: Any = None
    after: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """All differences by part of the definition, and the YAML as a unified diff.

    `text` is empty where nothing differs, and None where it would take too long.
    """

    nodes: tuple[Change, ...]
    edges: tuple[Change, ...]
    settings: tuple[Change, ...]
    inputs: tuple[Change, ...]
    about: tuple[Change, ...]  #: name and description
    text: str | None


def compare(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    names: tuple[str, str] = ("from", "to"),
    text: str | EllipsisType | None = ...,
) -> Difference:
    """Return what has to be done to `old` to make it `new`; `text` where it is known already."""
    about = ("name", "description")
    return Difference(
        nodes=tuple(_keyed("nodes", _nodes(old), _nodes(new))),
        edges=tuple(_keyed("edges", _edges(old), _edges(new))),
        settings=tuple(_changes("settings", _part(old, "settings"), _part(new, "settings"))),
        inputs=tuple(_changes("inputs", _part(old, "inputs"), _part(new, "inputs"))),
        about=tuple(
            Change(kind="changed", path=name, before=old.get(name), after=new.get(name))
            for name in about
            if (old.get(name) or "") != (new.get(name) or "")
        ),
        text=_unified(old, new, names) if isinstance(text, EllipsisType) else text,
    )


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return document.get(name) or {}


def _nodes(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {node["id"]: node for node in document["nodes"]}


def _edges(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for edge in document.get("edges") or ():
        handle = edge.get("sourceHandle")
        shown = {"source": edge["source"], "target": edge["target"], "sourceHandle": handle}
        found[f"{edge['source']}{f'.{handle}' if handle else ''}->{edge['target']}"] = shown
    return found


def _keyed(
    part: str, old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]
) -> Iterator[Change]:
    """Compare things with ids: a missing one is added or removed as a whole."""
    for key in old.keys() - new.keys():
        yield Change(kind="removed", path=f"{part}.{key}", before=old[key])
    for key, item in new.items():
        if key not in old:
            yield Change(kind="added", path=f"{part}.{key}", after=item)
        else:
            yield from _changes(f"{part}.{key}", old[key], item)


def _changes(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """Compare objects field by field; lists and values as wholes."""
    for key in [*old, *(key for key in new if key not in old)]:
        at = f"{path}.{key}"
        if key not in new:
            yield Change(kind="removed", path=at, before=old[key])
        elif key not in old:
            yield Change(kind="added", path=at, after=new[key])
        elif isinstance(old[key], Mapping) and isinstance(new[key], Mapping):
            yield from _changes(at, old[key], new[key])
        elif _differ(old[key], new[key]):
            yield Change(kind="changed", path=at, before=old[key], after=new[key])


def _differ(one: Any, two: Any) -> bool:
    # In Python True == 1; in a config they are not the same.
    return one != two or isinstance(one, bool) is not isinstance(two, bool)


def _unified(old: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, str]) -> str | None:
    if max(len(side["nodes"]) for side in (old, new)) > MAX_LINES // 2:
        return None
    before, after = (to_yaml(side).splitlines() for side in (old, new))
    if max(len(before), len(after)) > MAX_LINES:
        return None
    start, end = _alike(before, after)
    one, two = len(before) - start - end, len(after) - start - end
    if one * two > MAX_COMPARED:
        return None
    # A few lines around what differs, as a unified diff shows them.
    cut, left = max(0, start - _CONTEXT), max(0, end - _CONTEXT)
    lines = difflib.unified_diff(
        before[cut : len(before) - left], after[cut : len(after) - left], *names, lineterm=""
    )
    return "".join(f"{_moved(line, cut)}\n" for line in lines)


def _alike(before: list[str], after: list[str]) -> tuple[int, int]:
    """How many lines two texts begin, and then end, with alike."""
    most = min(len(before), len(after))
    start = next((no for no in range(most) if before[no] != after[no]), most)
    most -= start
    end = next((no for no in range(most) if before[-1 - no] != after[-1 - no]), most)
    return start, end


_HUNK = re.compile(r"@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@\Z")


def _moved(line: str, by: int) -> str:
    """A line of a diff; where a hunk begins, the numbers of the whole text."""
    found = _HUNK.match(line)
    if found is None:
        return line
    old, new = int(found[1]) + by, int(found[3]) + by
    return f"@@ -{old}{found[2] or ''} +{new}{found[4] or ''} @@"
