"""The rules a definition must keep, each finding all its problems. See `problems_of`."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from orchestrator.errors import Problem, did_you_mean, gathered, one_document
from orchestrator.models.definitions import graph, json_schema
from orchestrator.models.definitions.catalogue import CATALOGUE, expression_fields
from orchestrator.models.definitions.json_schema import place
from orchestrator.models.definitions.node import NODE_ID, Node
from orchestrator.models.definitions.schema_defaults import default_problems, with_defaults
from orchestrator.models.definitions.workflow import Edge, Workflow
from orchestrator.models.expressions import expression
from orchestrator.models.expressions.expression import Reference
from orchestrator.models.secret import NAME

MAX_NODES = 10_000
MAX_EDGES = 100_000
_SHOWN = 8
_RUN_FIELDS = ("id", "attempt")


def problems_of(workflow: Workflow) -> list[Problem]:
    """The problems, as far as an answer tells them; with suggestions for the first."""
    with one_document():
        return gathered(find(workflow))


def find(workflow: Workflow) -> Iterator[Problem]:
    """All problems; for a definition over the size limits only that one."""
    if not workflow.nodes:
        yield Problem("nodes", "no_nodes", "add at least one node")
        return
    if len(workflow.nodes) > MAX_NODES:
        text = f"{len(workflow.nodes)} nodes; at most {MAX_NODES} are allowed"
        yield Problem("nodes", "too_many_nodes", text)
        return
    if len(workflow.edges) > MAX_EDGES:
        text = f"{len(workflow.edges)} edges; at most {MAX_EDGES} are allowed"
        yield Problem("edges", "too_many_edges", text)
        return
    numbers: dict[str, int] = {}
    for no, node in enumerate(workflow.nodes):
        numbers.setdefault(node.id, no)
    targets = adjacency(workflow, numbers)
    yield from _ids(workflow.nodes)
    yield from _configs(workflow.nodes)
    yield from _edges(workflow, numbers)
    yield from (cycles := list(_cycles(workflow.nodes, targets)))
    yield from _inputs(workflow)
    yield from _References(workflow, numbers, targets, cyclic=bool(cycles)).problems()


def adjacency(workflow: Workflow, numbers: dict[str, int]) -> list[list[int]]:
    """For each node the numbers of those that wait for it, each once, in edge order."""
    rows: list[dict[int, None]] = [{} for _ in workflow.nodes]
    for edge in workflow.edges:
        if edge.source in numbers and edge.target in numbers:
            rows[numbers[edge.source]][numbers[edge.target]] = None
    return [list(row) for row in rows]


def _ids(nodes: Iterable[Node]) -> Iterator[Problem]:
    seen: dict[str, tuple[int, str]] = {}
    for no, node in enumerate(nodes):
        at = f"nodes[{no}].id"
        if not NODE_ID.match(node.id):
            text = (
                "must start with a letter or _, hold at most 64 of A-Z a-z 0-9 _ -, and be none of"
                " __proto__, constructor, prototype"
            )
            yield Problem(at, "bad_node_id", text, node.id)
        key = unicodedata.normalize("NFKC", node.id).casefold()
        first = seen.setdefault(key, (no, node.id))
        if first[0] != no:
            also = "is used twice" if first[1] == node.id else f"reads like '{first[1]}'"
            yield Problem(at, "duplicate_node_id", f"'{node.id}' {also}; rename one", node.id)


@functools.cache
def _validator(type_name: str) -> json_schema.Validator:
    return json_schema.compiled(CATALOGUE[type_name].config_schema)


def filled_problem(type_name: str, config: Mapping[str, Any]) -> Problem | None:
    """Return the first thing in a config, as its expressions have filled it, that does not fit.

    It is held to what holds in a file; `{{ }}` that an expression gave is no expression.
    """
    schema = CATALOGUE[type_name].config_schema
    found = json_schema.problems(
        _validator(type_name), config, "config", "bad_config", schema=schema
    )
    return next(iter(found), None)


def _configs(nodes: Iterable[Node]) -> Iterator[Problem]:
    for no, node in enumerate(nodes):
        if node.type not in CATALOGUE:
            near = did_you_mean(node.type, list(CATALOGUE))
            near = near or f"; types are {', '.join(CATALOGUE)}"
            text = f"there is no type '{node.type[:80]}'{near}"
            yield Problem(f"nodes[{no}].type", "unknown_type", text, node.id)
            continue
        at = f"nodes[{no}].data.config"
        schema = CATALOGUE[node.type].config_schema
        yield from json_schema.problems(
            _validator(node.type), node.config, at, "invalid_config", node.id, schema
        )


def _edges(workflow: Workflow, numbers: dict[str, int]) -> Iterator[Problem]:
    ids: set[str] = set()
    pairs: dict[tuple[str, str, str | None], str] = {}
    handles: dict[str, dict[str, None]] = {}
    for no, edge in enumerate(workflow.edges):
        at = f"edges[{no}]"
        if edge.id in ids:
            text = f"edge id '{edge.id}' is used twice; rename one"
            yield Problem(f"{at}.id", "duplicate_edge_id", text)
        ids.add(edge.id)
        for end, name in (("source", edge.source), ("target", edge.target)):
            if name not in numbers:
                near = did_you_mean(name, numbers)
                text = f"there is no node '{name[:80]}'{near or '; add it or remove the edge'}"
                yield Problem(f"{at}.{end}", "dangling_edge", text)
        pair = (edge.source, edge.target, edge.source_handle)
        if pair in pairs:
            text = f"the same as edge '{pairs[pair]}'; remove one"
            yield Problem(at, "duplicate_edge", text)
        pairs.setdefault(pair, edge.id)
        if edge.source_handle is not None and edge.source in numbers:
            yield from _handle(edge, workflow.nodes[numbers[edge.source]], at, handles)


def _handle(
    edge: Edge, node: Node, at: str, handles: dict[str, dict[str, None]]
) -> Iterator[Problem]:
    if node.type not in CATALOGUE:
        return
    if node.id not in handles:
        handles[node.id] = dict.fromkeys(CATALOGUE[node.type].handles(node.config))
    if edge.source_handle in handles[node.id]:
        return
    at = f"{at}.sourceHandle"
    if node.type != "branch":
        text = f"'{node.id}' is no branch; remove the handle"
        yield Problem(at, "handle_without_branch", text, node.id)
        return
    known = ", ".join(islice(handles[node.id], _SHOWN)) or "none"
    text = f"branch '{node.id}' never takes '{str(edge.source_handle)[:80]}'; it has {known}"
    yield Problem(at, "unreachable_branch", text, node.id)


def _cycles(nodes: tuple[Node, ...], targets: graph.Targets) -> Iterator[Problem]:
    for path in graph.cycles(targets):
        names = [nodes[no].id for no in path]
        if len(names) > 2 * _SHOWN:
            left_out = f"... {len(names) - 2 * _SHOWN} more ..."
            names = [*names[:_SHOWN], left_out, *names[-_SHOWN:]]
        text = f"a cycle: {' -> '.join(names)}; remove one of these edges"
        yield Problem(f"nodes[{path[0]}]", "cycle", text, nodes[path[0]].id)


def _inputs(workflow: Workflow) -> Iterator[Problem]:
    schema = workflow.inputs
    if not schema:
        return
    if schema.get("type", "object") != "object":
        yield Problem("inputs.type", "invalid_input_schema", "must be 'object'")
    try:
        known = json_schema.prepared(schema)
        with_defaults(schema, {})
        yield from default_problems(schema, known.validator)
    except ValueError as error:
        yield Problem("inputs", "invalid_input_schema", str(error))


class _References:
    """Whether expressions parse, and read only what exists before they run."""

    def __init__(
        self,
        workflow: Workflow,
        numbers: dict[str, int],
        targets: list[list[int]],
        *,
        cyclic: bool,
    ) -> None:
        self.cyclic = cyclic
        self.workflow = workflow
        self.numbers = numbers
        self.targets = targets
        self.upstream: list[set[int]] = [set() for _ in targets]
        for source, row in enumerate(targets):
            for target in row:
                self.upstream[target].add(source)
        properties = workflow.inputs.get("properties")
        declares = isinstance(properties, dict) and properties
        self.inputs = list(properties) if isinstance(properties, dict) and declares else None

    def problems(self) -> Iterator[Problem]:
        for no, node in enumerate(self.workflow.nodes):
            start = f"nodes[{no}].data.config"
            for at, reads, error in findings(node):
                path = place(at, start)
                if error is not None:
                    yield Problem(path, "bad_expression", error, node.id)
                for reference in sorted(reads, key=str):
                    if why := self.wrong(reference, no):
                        yield Problem(path, why[0], why[1], node.id)
        yield from self._output()

    def _output(self) -> Iterator[Problem]:
        source = self.workflow.settings.output
        if source is None:
            return
        if error := expression.check(source):
            yield Problem("settings.output", "bad_expression", error)
            return
        for reference in sorted(expression.expression_references(source), key=str):
            if why := self.wrong(reference, None):
                yield Problem("settings.output", *why)

    @functools.cached_property
    def above(self) -> list[int]:
        return graph.ancestors(self.targets)

    def wrong(self, reference: Reference, no: int | None) -> tuple[str, str] | None:
        """(code, message) when node `no` (None: the run's output) cannot read this."""
        root, name = reference
        match root:
            case "nodes":
                return self._node(name, no)
            case "inputs" if name and self.inputs is not None and name not in self.inputs:
                near = did_you_mean(name, self.inputs) or "; declare it in `inputs`"
                return "unknown_input", f"there is no input '{name[:80]}'{near}"
            case "run" if name and name not in _RUN_FIELDS[: 1 if no is None else None]:
                known = ", ".join(_RUN_FIELDS[: 1 if no is None else None])
                return "unknown_reference", f"`run` has no '{name[:80]}'; it has {known}"
            case "secrets" | "vars":
                return _kept(root, name, no)
            case "item" | "index":
                return "unknown_reference", f"`{root}` exists only inside a fan-out"
        return None

    def _node(self, name: str | None, no: int | None) -> tuple[str, str] | None:
        if name is None:
            if no is None:
                return None
            return "unknown_reference", 'name the node: nodes.ID.output or nodes["ID"].output'
        if name not in self.numbers:
            near = did_you_mean(name, self.numbers)
            return "unknown_reference", f"there is no node '{name[:80]}'{near}"
        source = self.numbers[name]
        if no is None or source in self.upstream[no]:
            return None
        if source == no:
            return "not_upstream", "a node cannot read its own output"
        # In a cycle "before" has no meaning; the cycle itself is the problem to report.
        if self.cyclic or self.above[no] >> source & 1:
            return None
        here = self.workflow.nodes[no].id
        return "not_upstream", f"'{name}' does not run before '{here}'; add an edge from it"


def _kept(root: str, name: str | None, no: int | None) -> tuple[str, str] | None:
    """Which secrets and variables there are is another matter in each environment: only the form
    is judged, so that it is known before a run which ones a node is given."""
    if no is None:
        return "bad_reference", f"the run's output cannot read `{root}`; read it in a node"
    if name is None:
        return "bad_reference", f"name it in the expression itself: {root}.NAME"
    if not NAME.match(name):
        text = f"{name[:80]!r} is no name: a letter or _, then at most 63 of A-Z a-z 0-9 _"
        return "bad_reference", text
    return None


def findings(
    node: Node,
) -> Iterator[tuple[tuple[str | int, ...], frozenset[Reference], str | None]]:
    """(path, what it reads, error) of each expression in a node's config, bare or in `{{ }}`."""
    bare: dict[tuple[str | int, ...], str] = {}
    if node.type in CATALOGUE:
        bare = dict(expression_fields(node.config, CATALOGUE[node.type].config_schema))
    for path, source in bare.items():
        error = expression.check(source)
        reads = frozenset() if error else expression.expression_references(source)
        yield path, reads, error
    for finding in expression.inspect(node.config):
        if finding.path not in bare:
            yield finding
