"""Definitions written in Python: `Workflow` and `node` make the document that the API takes.

For people who define workflows. What a definition means is told in `models/workflow.py`, and its
problems are found there: `Workflow.check()` here, or the server when it is saved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import InvalidDefinition, Problem

#: Characters that JSON may hold as they are and YAML may not.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """One node as `node()` made it."""

    id: str
    type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    #: Ids of the nodes it waits for; `size.big` for the handle `big` of a branch.
    after: tuple[str, ...] = ()
    #: What else the definition's node takes: label, retry, timeout_s, trigger_rule, ...
    more: Mapping[str, Any] = field(default_factory=dict)


def node(
    id: str,
    *,
    type: str | None = None,
    config: Mapping[str, Any] | None = None,
    function: Callable[..., Any] | str | None = None,
    args: Mapping[str, Any] | None = None,
    after: Sequence[str | NodeSpec] | str | NodeSpec = (),
    label: str | None = None,
    retry: Mapping[str, Any] | None = None,
    timeout_s: float | None = None,
    trigger_rule: str | None = None,
    queue: str | None = None,
    priority: int | None = None,
) -> NodeSpec:
    """Return a node of a type with its config, or one that calls a registered function.

    `function` is one that `@workers.functions.function` has registered, or its name; `args` are
    its arguments, in which `{{ }}` works. TypeError for both kinds at once or neither, ValueError
    for a function that is not registered: workers could not find it.
    """
    if (type is None) == (function is None):
        raise TypeError(f"node {id!r}: give either `type` or `function`")
    if function is not None and config is not None:
        raise TypeError(f"node {id!r}: a function takes `args`, not `config`")
    if function is None and args is not None:
        raise TypeError(f"node {id!r}: `args` are a function's; a type takes `config`")
    if function is not None:
        type, config = "python", {"function": _name_of(function), "args": dict(args or {})}
    given = {
        "label": label, "retry": retry, "timeout_s": timeout_s, "trigger_rule": trigger_rule,
        "queue": queue, "priority": priority,
    }  # fmt: skip
    needs = (after,) if isinstance(after, str | NodeSpec) else after
    return NodeSpec(
        id=id,
        type=str(type),
        config=dict(config or {}),
        after=tuple(need.id if isinstance(need, NodeSpec) else need for need in needs),
        more={name: value for name, value in given.items() if value is not None},
    )


def _name_of(function: Callable[..., Any] | str) -> str:
    if isinstance(function, str):
        return function
    name = getattr(function, "zq_name", None)
    if not isinstance(name, str):
        shown = getattr(function, "__qualname__", repr(function))
        raise ValueError(f"{shown} is not registered: decorate it with @workers.functions.function")
    return name


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow to be saved or run.

    `inputs` is a JSON Schema of an object, or in short `{"day": "string", "n": {...}}`;
    `settings` as in the definition: `timeout_s`, `retry`, `output`.
    """

    name: str
    nodes: Sequence[NodeSpec]
    description: str = ""
    inputs: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None

    def definition(self) -> dict[str, Any]:
        """Return the document that the API takes, laid out for the editor.

        InvalidDefinition for what cannot be written down: ids given twice, unknown `after`.
        """
        from orchestrator.services.definitions.reading import from_yaml

        ids = [each.id for each in self.nodes]
        twice = sorted({id for id in ids if ids.count(id) > 1})
        if twice:
            text = f"ids are given twice: {', '.join(twice)}"
            raise InvalidDefinition([Problem("nodes", "duplicate_node_id", text)])
        return from_yaml(as_yaml(self._written()))

    def check(self) -> None:
        """Raise InvalidDefinition with every problem of shape and meaning."""
        from orchestrator.services.definitions.reading import read_definition

        read_definition(self.definition())

    def to_yaml(self) -> str:
        """Return the definition as people write it; `zq apply -f` takes it."""
        from orchestrator.services.definitions.reading import read_definition, shape_of, to_yaml

        return to_yaml(shape_of(read_definition(self.definition())))

    def _written(self) -> dict[str, Any]:
        given = {
            "description": self.description, "inputs": self.inputs, "settings": self.settings
        }  # fmt: skip
        return {
            "name": self.name,
            **{name: value for name, value in given.items() if value},
            "nodes": {
                each.id: {
                    "type": each.type,
                    "config": each.config,
                    **({"needs": list(each.after)} if each.after else {}),
                    **each.more,
                }
                for each in self.nodes
            },
        }


def as_yaml(document: Any) -> str:
    """Return JSON that every YAML reader takes; InvalidDefinition for what is no JSON."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidDefinition(
            [Problem("", "invalid_field", f"not plain JSON: {error}")]
        ) from None
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
