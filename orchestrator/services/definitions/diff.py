"""What changed between two versions of a definition: by part, and as text. Reads `shape_of`'s form.

Where a node stands on the canvas counts; the ids of edges do not, since YAML has none.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.services.definitions.yaml_form import to_yaml

#: Longer texts are not compared line by line: that may take the square of their length.
MAX_LINES = 5_000


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

    `text` is empty where nothing differs, and None where a text has more than MAX_LINES lines.
    """

    nodes: tuple[Change, ...]
    edges: tuple[Change, ...]
    settings: tuple[Change, ...]
    inputs: tuple[Change, ...]
    about: tuple[Change, ...]  #: name and description
    text: str | None


def compare(
    old: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, str] = ("from", "to")
) -> Difference:
    """Return what has to be done to `old` to make it `new`."""
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
        text=_unified(old, new, names),
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
    before, after = (to_yaml(side).splitlines() for side in (old, new))
    if max(len(before), len(after)) > MAX_LINES:
        return None
    lines = difflib.unified_diff(before, after, *names, lineterm="")
    return "".join(f"{line}\n" for line in lines)
