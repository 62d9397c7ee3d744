"""Where a problem's path stands in the text a person wrote: `nodes[2].data.config.url` -> line 14.

Reads positions only; what the text means is for `services/definitions.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
#: Levels of the API's form that the written form may leave out.
_LEFT_OUT = {"data", "properties"}


@dataclass(frozen=True, slots=True)
class Place:
    """A line, counted from 1, and the path as it is written there."""

    line: int
    path: str


class Lines:
    """The positions in one YAML or JSON text (JSON is YAML too)."""

    def __init__(self, text: str) -> None:
        try:
            self._root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            self._root = None

    def find(self, path: str, node_id: str | None = None) -> Place:
        """Return the deepest place of a path that the text has; its node's where there is none."""
        steps = [int(number) if number else name for number, name in _STEP.findall(path)]
        place, complete = self._walk(steps)
        if not complete and node_id and not path.startswith("nodes"):
            return self._node(node_id) or place
        return place

    def _node(self, node_id: str) -> Place | None:
        place, complete = self._walk(["nodes", node_id])
        return place if complete else None

    def _walk(self, steps: list[int | str]) -> tuple[Place, bool]:
        at, line, said = self._root, 1, ""
        for step in steps:
            if step in _LEFT_OUT and not _has(at, step):
                continue
            found = _child(at, step)
            if found is None:
                return Place(line, said), False
            name, line, at = found
            said += f"[{name}]" if isinstance(name, int) else f".{name}" if said else name
        return Place(line, said), True


def _has(node: yaml.Node | None, name: int | str) -> bool:
    return isinstance(node, yaml.MappingNode) and any(key.value == name for key, _ in node.value)


def _child(node: yaml.Node | None, step: int | str) -> tuple[int | str, int, yaml.Node] | None:
    """Return (name, line, node) below; a number also counts the entries of a mapping of nodes."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return step, node.value[step].start_mark.line + 1, node.value[step]
    if not isinstance(node, yaml.MappingNode):
        return None
    for number, (key, value) in enumerate(node.value):
        if step in (number, key.value):
            return key.value, key.start_mark.line + 1, value
    return None
