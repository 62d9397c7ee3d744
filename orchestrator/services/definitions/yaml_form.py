"""The form people write: YAML with `needs` in place of edges. Reads to, and writes from, JSON.

YAML 1.2's plain values only: no anchors, no tags, no dates, and `on` or `no` are text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from typing import Any

import yaml

from orchestrator.errors import MAX_PROBLEMS, InvalidDefinition, Problem, did_you_mean, gathered
from orchestrator.models.definitions import graph
from orchestrator.models.definitions.node import (
    DEFAULT_PRIORITY,
    DEFAULT_QUEUE,
    RetryPolicy,
    TriggerRule,
)
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.models.definitions.validation import MAX_NODES
from orchestrator.models.text import normal_name

MAX_CHARACTERS = 5_000_000
#: Lists, maps, keys and texts of YAML, at 2 µs each; values of JSON, which is read in no time.
MAX_VALUES, MAX_JSON_VALUES = 500_000, 1_000_000
MAX_DEPTH = 64
COLUMN_PX, ROW_PX = 260, 120
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_INT = re.compile(r"[-+]?[0-9]+\Z|0x[0-9a-fA-F]+\Z|0o[0-7]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_OUTER = ("name", "description", "status", "inputs", "settings", "nodes", "edges")
_DATA = ("label", "config", "retry", "timeout_s", "trigger_rule", "queue", "priority")
_RETRY: dict[str, Any] = {**asdict(RetryPolicy()), "unless": []}
_DEFAULTS: dict[str, Any] = {
    "label": "",
    "config": {},
    "trigger_rule": TriggerRule.ALL_SUCCESS.value,
    "queue": DEFAULT_QUEUE,
    "priority": DEFAULT_PRIORITY,
}
_USUAL = WorkflowStatus.PUBLISHED
_NODE = ("type", "needs", "position", *_DATA)


def _refuse(code: str, message: str, path: str = "", line: int | None = None) -> InvalidDefinition:
    at = f"line {line + 1}: " if line is not None else ""
    return InvalidDefinition([Problem(path, code, f"{at}{message}")])


def _scalar(event: Any) -> Any:
    text = event.value
    if not event.implicit[0]:
        return text
    if _NULL.match(text):
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.match(text):
        return _integer(text)
    if _FLOAT.match(text):
        number = float(text)
        if math.isfinite(number):
            return number
        line = event.start_mark.line if event.start_mark else None
        why = f"{text[:24]} is out of range of a number; quote it where it is text"
        raise _refuse("bad_number", why, line=line)
    return text


def _integer(text: str) -> int:
    """An integer of at most 40 digits: those of a longer one do not matter, being refused."""
    if text[:2] in ("0x", "0o"):
        return int(text[:42], 0)
    sign = text[0] if text[0] in "+-" else ""
    return int(sign + (text[len(sign) :].lstrip("0")[:40] or "0"))


class _Open:
    """A list or map being read; `key` is the map's key that waits for its value."""

    __slots__ = ("key", "keyed", "made")

    def __init__(self, made: Any) -> None:
        self.made = made
        self.key = ""
        self.keyed = False

    def put(self, value: Any, line: int) -> None:
        if isinstance(self.made, list):
            self.made.append(value)
        elif self.keyed:
            self.made[self.key] = value
            self.keyed = False
        elif isinstance(value, list | dict):
            raise _refuse("bad_yaml", "a key must be text", line=line)
        else:
            self.key = value if isinstance(value, str) else str(value)
            if self.key in self.made:
                text = f"'{self.key[:80]}' is given twice; remove one"
                raise _refuse("duplicate_key", text, line=line)
            self.keyed = True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # The other reader says which, and in which line.
        raise ValueError("a key is given twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def load_yaml(text: str) -> Any:
    """The JSON value of one YAML document. Raises InvalidDefinition, naming the line.

    A text that is JSON is read as JSON, whose escapes YAML does not all have.
    """
    if len(text) > MAX_CHARACTERS:
        raise _refuse("too_large", f"more than {MAX_CHARACTERS} characters; split the workflow")
    if text.lstrip()[:1] in ("{", "[") and text.count(",") < MAX_JSON_VALUES:
        with suppress(ValueError, RecursionError):
            return json.loads(
                text,
                object_pairs_hook=_object,
                parse_int=_integer,
                parse_float=_finite,
                parse_constant=_finite,
            )
    try:
        return _read(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else None
        raise _refuse("bad_yaml", f"{error.problem or error}"[:200], line=line) from None
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise _refuse("bad_yaml", str(error)[:200]) from None


def _read(text: str) -> Any:
    top = _Open([])
    stack = [top]
    for no, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        line = event.start_mark.line if event.start_mark else 0
        if no > MAX_VALUES:
            text = f"more than {MAX_VALUES:,} values; split the workflow"
            raise _refuse("too_large", text, line=line)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refuse(
                "bad_yaml", "anchors and aliases (& *) are not read; repeat it", line=line
            )
        if tag := getattr(event, "tag", None):
            raise _refuse("bad_yaml", f"tags ({tag[:40]}) are not read", line=line)
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            made: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            stack[-1].put(made, line)
            stack.append(_Open(made))
            if len(stack) > MAX_DEPTH:
                raise _refuse("too_deep", f"nested more than {MAX_DEPTH} deep", line=line)
        elif isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
        elif isinstance(event, yaml.ScalarEvent):
            holder = stack[-1]
            is_key = isinstance(holder.made, dict) and not holder.keyed
            holder.put(event.value if is_key else _scalar(event), line)
        elif isinstance(event, yaml.DocumentStartEvent) and top.made:
            raise _refuse("bad_yaml", "one document only; remove `---`", line=line)
    return top.made[0] if top.made else None


def read(text: str) -> tuple[dict[str, Any], list[Problem]]:
    """(the JSON form, what has none in it). InvalidDefinition where there is nothing to read.

    What is wrong is left out of the form, so that the rest can be judged.
    """
    document = load_yaml(text)
    if not isinstance(document, dict):
        raise _refuse("invalid_field", "write a map with `name:` and `nodes:`")
    if isinstance(name := document.get("name"), str):
        document["name"] = normal_name(name)
    nodes = document.get("nodes")
    if isinstance(nodes, list):
        return document, []
    if not isinstance(nodes, dict):
        raise _refuse("missing_field", "write `nodes:` as a map of ids", "nodes")
    if len(nodes) > MAX_NODES:
        text = f"{len(nodes)} nodes; at most {MAX_NODES} are allowed"
        raise _refuse("too_many_nodes", text, "nodes")
    found: list[Problem] = []
    found += _strange(document, "", _OUTER, None)
    if "edges" in document:
        text = "with `nodes` as a map, write `needs` in place of edges"
        found.append(Problem("edges", "unknown_field", text))
    shapes, edges = [], []
    for name, given in nodes.items():
        shape = _node(name, given, found)
        shapes.append(shape)
        needs = given.get("needs") if isinstance(given, dict) else None
        edges += _edges(name, needs, nodes, found)
    _lay_out(shapes, edges)
    plain = ("name", "description", "status", "settings")
    made = {key: document[key] for key in plain if key in document}
    if "inputs" in document:
        made["inputs"] = _inputs(document["inputs"])
    return {**made, "nodes": shapes, "edges": edges}, gathered(found)


def beside(found: list[Problem], more: list[Problem]) -> list[Problem]:
    """What else is wrong, without what follows from the problems of `read`."""
    if any(problem.path.endswith("needs") or ".needs[" in problem.path for problem in found):
        return [problem for problem in more if problem.code != "not_upstream"]
    return more


def _strange(
    given: Mapping[str, Any], at: str, known: tuple[str, ...], node: str | None
) -> list[Problem]:
    """Return a problem for each field that is not known, as many as are told and one more."""
    names = islice((name for name in given if name not in known), MAX_PROBLEMS + 1)
    return [
        Problem(
            f"{at}{name}",
            "unknown_field",
            f"is not a known field{did_you_mean(name, known) or '; remove it'}",
            node,
        )
        for name in names
    ]


def _node(name: str, given: Any, found: list[Problem]) -> dict[str, Any]:
    at = f"nodes.{name}"
    if given is None or isinstance(given, str):
        given = {"type": given or "noop"}
    if not isinstance(given, dict):
        found.append(Problem(at, "invalid_field", "write a map with `type:`", name))
        return {"id": name, "type": "noop", "data": {}}
    if len(found) <= MAX_PROBLEMS:
        found += _strange(given, f"{at}.", _NODE, name)
    shape: dict[str, Any] = {"id": name}
    if "type" in given:
        shape["type"] = given["type"]
    if "position" in given:
        shape["position"] = given["position"]
    shape["data"] = {key: given[key] for key in _DATA if given.get(key) is not None}
    return shape


def _edges(
    name: str, needs: Any, nodes: dict[str, Any], found: list[Problem]
) -> list[dict[str, Any]]:
    entries = [needs] if isinstance(needs, str) else needs or []
    if not isinstance(entries, list) or not all(isinstance(item, str) for item in entries):
        text = "a list of node ids, or id.handle for a branch"
        found.append(Problem(f"nodes.{name}.needs", "invalid_field", text, name))
        return []
    made = []
    for no, entry in enumerate(entries):
        source, dot, handle = entry.partition(".")
        if len(found) > MAX_PROBLEMS:
            break
        if source not in nodes:
            near = did_you_mean(source, nodes)
            text = f"there is no node '{source[:80]}'{near}"
            found.append(Problem(f"nodes.{name}.needs[{no}]", "dangling_edge", text, name))
            continue
        edge = {"id": f"{entry}->{name}", "source": source, "target": name, "type": "default"}
        made.append({**edge, "sourceHandle": handle if dot else None})
    return made


def _inputs(given: Any) -> Any:
    """`{day: {type: string}}` or `{day: string}` as the JSON Schema of an object."""
    if not isinstance(given, dict) or not given:
        return given
    if "$schema" in given or isinstance(given.get("properties"), dict):
        return given
    if given.get("type") == "object":
        return given
    properties, required = {}, []
    for name, schema in given.items():
        inner = {"type": schema} if isinstance(schema, str) else schema
        if isinstance(inner, dict) and isinstance(inner.get("required"), bool):
            required += [name] if inner["required"] else []
            inner = {key: value for key, value in inner.items() if key != "required"}
        properties[name] = {} if inner is None else inner
    made = {"type": "object", "properties": properties}
    return {**made, "required": required} if required else made


def _lay_out(shapes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> None:
    numbers = {shape["id"]: no for no, shape in enumerate(shapes)}
    targets: list[list[int]] = [[] for _ in shapes]
    for edge in edges:
        targets[numbers[edge["source"]]].append(numbers[edge["target"]])
    rows: dict[int, int] = {}
    for shape, layer in zip(shapes, graph.layers(targets), strict=True):
        row = rows.get(layer, 0)
        rows[layer] = row + 1
        shape.setdefault("position", {"x": layer * COLUMN_PX, "y": row * ROW_PX})


_SAFE_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SAFE_DUMPER):  # type: ignore[misc]  # one of two, as PyYAML was built
    """Quotes also the texts that only YAML 1.2 takes for numbers, such as 1e3."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))


def to_yaml(document: Mapping[str, Any]) -> str:
    """The YAML form of a definition as `shape_of` writes it, defaults left out.

    So are positions that are those `read` makes: nobody has set them.

    A `status` beside it is one more, with `published` as its default. `read` reads it back
    to the same workflow; only edge ids are made anew.
    """
    made: dict[str, Any] = {"name": document["name"]}
    if document.get("description"):
        made["description"] = document["description"]
    if document.get("status", _USUAL) != _USUAL:
        made["status"] = str(document["status"])
    if document.get("inputs"):
        made["inputs"] = _short_inputs(document["inputs"])
    settings = dict(document.get("settings") or {})
    general = settings.pop("retry", None) or _RETRY
    if changed := _changed(general, _RETRY):
        settings["retry"] = changed
    if settings:
        made["settings"] = settings
    needs: dict[str, list[str]] = {}
    for edge in document.get("edges") or ():
        handle = f".{edge['sourceHandle']}" if edge.get("sourceHandle") else ""
        needs.setdefault(edge["target"], []).append(edge["source"] + handle)
    made["nodes"] = {
        node["id"]: _node_yaml(node, needs.get(node["id"], []), general, usual["position"])
        for node, usual in zip(document["nodes"], _laid_out(document), strict=True)
    }
    style: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 100}
    return str(yaml.dump(made, Dumper=_Dumper, default_flow_style=None, **style))


def _node_yaml(
    node: Mapping[str, Any],
    needs: list[str],
    general: Mapping[str, Any],
    usual: Mapping[str, Any],
) -> dict[str, Any]:
    data = _changed(node.get("data") or {}, _DEFAULTS)
    if "retry" in data:
        # Kept when it changes nothing: it still holds when the settings change.
        data["retry"] = _changed(data["retry"], general) or {
            "max_attempts": general["max_attempts"]
        }
    made = {"type": node["type"], **({"needs": needs} if needs else {}), **data}
    return {**made, **_changed({"position": node.get("position", usual)}, {"position": usual})}


def _laid_out(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return where the nodes of a definition stand if nobody says so."""
    shapes: list[dict[str, Any]] = [{"id": node["id"]} for node in document["nodes"]]
    _lay_out(shapes, document.get("edges") or [])
    return shapes


def _changed(given: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in usual or value != usual[key]}


def _short_inputs(schema: Any) -> Any:
    short = isinstance(schema, dict) and set(schema) == {"type", "properties"}
    if short and schema["type"] == "object" and _inputs(schema["properties"]) == schema:
        return schema["properties"]
    return schema
