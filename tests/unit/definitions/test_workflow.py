"""`problems_of`: every problem, with its place and its node; and a run's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.models.definitions.node import Node
from orchestrator.models.definitions.validation import problems_of
from orchestrator.models.definitions.workflow import Edge, Workflow, WorkflowSettings, check_input


def node(node_id: str, type_: str = "noop", **config: Any) -> Node:
    return Node(node_id, type_, config=config)


def flow(nodes: Sequence[Node], *arrows: str, **more: Any) -> Workflow:
    """Edges as 'a>b' or 'a.handle>b'."""
    edges = []
    for no, arrow in enumerate(arrows):
        source, target = arrow.split(">")
        source, _, handle = source.partition(".")
        edges.append(Edge(f"e{no}", source, target, handle or None))
    return Workflow("w", tuple(nodes), tuple(edges), **more)


def codes(workflow: Workflow) -> list[str]:
    return [problem.code for problem in problems_of(workflow)]


READ_A = "nodes.a.output"
DECLARED = {"type": "object", "properties": {"day": {"type": "string"}}}
BRANCH = node("b", "branch", cases=[{"when": "true", "handle": "big"}])


@pytest.mark.parametrize(
    ("workflow", "code", "path"),
    [
        (flow([]), "no_nodes", "nodes"),
        (flow([node("9x")]), "bad_node_id", "nodes[0].id"),
        (flow([node("a"), node("a")]), "duplicate_node_id", "nodes[1].id"),
        (flow([node("a"), node("A")]), "duplicate_node_id", "nodes[1].id"),
        (flow([node("a", "htp")]), "unknown_type", "nodes[0].type"),
        (
            flow([node("a", "http", urll="x", url="y")]),
            "invalid_config",
            "nodes[0].data.config.urll",
        ),
        (flow([node("a")], "a>zz"), "dangling_edge", "edges[0].target"),
        (flow([node("a"), node("b")], "a>b", "a>b"), "duplicate_edge", "edges[1]"),
        (flow([node("a")], "a>a"), "cycle", "nodes[0]"),
        (flow([BRANCH, node("c")], "b.small>c"), "unreachable_branch", "edges[0].sourceHandle"),
        (flow([node("a"), node("c")], "a.x>c"), "handle_without_branch", "edges[0].sourceHandle"),
        (
            flow([node("a", "transform", expression="1 +")]),
            "bad_expression",
            "nodes[0].data.config.expression",
        ),
        (
            flow([node("a", "branch", cases=[{"when": "x", "handle": "h"}])]),
            "bad_expression",
            "nodes[0].data.config.cases[0].when",
        ),
        (
            flow([node("a"), node("b", "transform", expression=READ_A)]),
            "not_upstream",
            "nodes[1].data.config.expression",
        ),
        (
            flow([node("a"), node("b", "http", url="{{ nodes.c.output }}")], "a>b"),
            "unknown_reference",
            "nodes[1].data.config.url",
        ),
        (
            flow([node("a", "http", url="{{ secrets }}")]),
            "bad_reference",
            "nodes[0].data.config.url",
        ),
        (
            flow([node("a", "http", url="{{ secrets[inputs.name] }}")]),
            "bad_reference",
            "nodes[0].data.config.url",
        ),
        (
            flow([node("a", "http", url="{{ vars['no name'] }}")]),
            "bad_reference",
            "nodes[0].data.config.url",
        ),
        (
            flow([node("a")], settings=WorkflowSettings(output="secrets.hook")),
            "bad_reference",
            "settings.output",
        ),
        (
            flow([node("a", "http", url="{{ inputs.dya }}")], inputs=DECLARED),
            "unknown_input",
            "nodes[0].data.config.url",
        ),
        (flow([node("a")], inputs={"type": "objekt"}), "invalid_input_schema", "inputs.type"),
        (
            flow([node("a")], inputs={"properties": {"a": {"$ref": "file:///etc/passwd"}}}),
            "invalid_input_schema",
            "inputs",
        ),
        (
            flow([node("a")], settings=WorkflowSettings(output="nodes.b.output")),
            "unknown_reference",
            "settings.output",
        ),
        (Workflow("w", (node("a"),) * 10_001), "too_many_nodes", "nodes"),
        (Workflow("w", (node("a"),), (Edge("e", "a", "a"),) * 100_001), "too_many_edges", "edges"),
    ],
)
def test_each_rule_names_its_place(workflow: Workflow, code: str, path: str) -> None:
    found = problems_of(workflow)
    assert (code, path) in {(problem.code, problem.path) for problem in found}


def test_all_problems_are_reported_at_once_with_their_nodes() -> None:
    workflow = flow(
        [node("a", "htp"), node("b", "wait"), node("c", "transform", expression="nodes.zz.output")],
        "a>b",
        "b>a",
        "c>q",
    )
    found = {(problem.code, problem.node) for problem in problems_of(workflow)}
    assert found == {
        ("unknown_type", "a"),
        ("invalid_config", "b"),
        ("unknown_reference", "c"),
        ("cycle", "a"),
        ("dangling_edge", None),
    }


def test_each_cycle_is_named_once() -> None:
    workflow = flow([node(name) for name in "abcdef"], "a>b", "b>c", "c>a", "c>d", "e>f", "f>e")
    found = [p.message for p in problems_of(workflow) if p.code == "cycle"]
    assert [text.split(";")[0] for text in found] == [
        "a cycle: a -> b -> c -> a",
        "a cycle: e -> f -> e",
    ]


def test_an_ancestor_far_above_may_be_read_and_a_sibling_may_not() -> None:
    nodes = [node(name) for name in "abcd"] + [node("e", "transform", expression=READ_A)]
    assert codes(flow(nodes, "a>b", "b>c", "c>e", "a>d")) == []
    assert codes(flow(nodes, "b>c", "c>e", "a>d")) == ["not_upstream"]


def test_a_near_miss_is_suggested() -> None:
    workflow = flow([node("a", "http", url="x", metod="GET"), node("b", "transfrom")])
    texts = [problem.message for problem in problems_of(workflow)]
    assert "did you mean 'method'" in texts[0]
    assert "did you mean 'transform'" in texts[1]


def test_many_paths_cost_nothing() -> None:
    arrows = []
    for no in range(40):
        arrows += [f"s{no}>l{no}", f"s{no}>r{no}", f"l{no}>s{no + 1}", f"r{no}>s{no + 1}"]
    names = [f"{kind}{no}" for no in range(40) for kind in "slr"]
    last = node("s40", "transform", expression="nodes.s0.output")
    assert codes(flow([*map(node, names), last], *arrows)) == []


SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["day"],
    "properties": {
        "day": {"type": "string", "format": "date"},
        "n": {"type": "integer", "default": 3},
        "deep": {"type": "object", "default": {}, "properties": {"x": {"default": 1}}},
    },
}


def test_input_is_filled_with_defaults() -> None:
    value, problems = check_input(
        flow([node("a")], inputs=SCHEMA), {"day": "2026-01-31", "deep": {}}
    )
    assert problems == []
    assert value == {"day": "2026-01-31", "n": 3, "deep": {"x": 1}}


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        (None, ["input.day"]),
        ([], ["input"]),
        ({"day": "2026-13-01", "n": "x", "zz": 1}, ["input.day", "input.n", "input.zz"]),
    ],
)
def test_input_that_does_not_fit(value: Any, paths: list[str]) -> None:
    _, problems = check_input(flow([node("a")], inputs=SCHEMA), value)
    assert sorted(problem.path for problem in problems) == paths


def test_a_schema_never_reaches_out() -> None:
    workflow = flow([node("a")], inputs={"$ref": "http://127.0.0.1:9/schema.json"})
    assert "may only point inside" in problems_of(workflow)[0].message
    assert [p.code for p in check_input(workflow, {})[1]] == ["invalid_input_schema"]
