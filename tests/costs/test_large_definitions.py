"""Definitions and inputs as large as they come: what they cost is bounded."""

from __future__ import annotations

import time
from typing import Any

import pytest

from orchestrator.errors import InvalidDefinition
from orchestrator.models.definitions.plan import compile as compile_plan
from orchestrator.models.definitions.validation import problems_of
from orchestrator.models.definitions.workflow import Edge, Workflow, check_input
from orchestrator.services.definitions.reading import from_yaml, read_definition, shape_of, to_yaml
from tests.unit.definitions.test_definitions import a_document
from tests.unit.definitions.test_inputs import LEAVES, TWICE, declared, flow
from tests.unit.definitions.test_workflow import node


def test_a_value_that_makes_a_schema_double_is_refused() -> None:
    value: dict[str, Any] = {}
    for _ in range(40):
        value = {"x": value}
    began = time.thread_time()
    _, problems = check_input(flow(**TWICE), value)
    assert ["too much work" in problem.message for problem in problems] == [True]
    assert time.thread_time() - began < 3


def test_a_long_list_of_rows_is_no_trouble() -> None:
    schema = declared(rows={"items": declared(**LEAVES)})
    rows = [dict.fromkeys(LEAVES, 1) for _ in range(5000)]
    found, problems = check_input(flow(**schema), {"rows": rows})
    assert problems == []
    assert found["rows"] == rows


def test_problems_and_suggestions_are_bounded() -> None:
    names = [f"node_number_{no:05d}" for no in range(500)]
    edges = [{"source": f"{name}x", "target": names[0], "id": name} for name in names]
    edges += [{"source": f"zz{no}", "target": "yy", "id": str(no)} for no in range(50_000)]
    nodes = [{"id": name, "type": "noop"} for name in names]
    began = time.thread_time()
    with pytest.raises(InvalidDefinition) as caught:
        read_definition(a_document(*nodes, edges=edges))
    assert time.thread_time() - began < 20
    found = caught.value.problems
    assert len(found) == 201
    assert found[-1].code == "more_problems"
    assert found[-1].message.startswith("and 100,300 more")
    assert 1 <= sum("did you mean" in problem.message for problem in found) <= 20


NAMES = {f"nam{no}": 1 for no in range(200_000)}


@pytest.mark.parametrize(
    "document",
    [
        {**a_document(), **NAMES},
        a_document({"id": "a", "type": "noop", **NAMES}),
        a_document({"id": "a", "type": "noop", "data": {"retry": NAMES}}),
        a_document(edges=[{"source": 1, "target": "a"}] * 100_000),
        a_document(edges=[{"source": "a", "target": "a", "no": 1}] * 100_000),
    ],
    ids=["document", "node", "retry", "edges", "fields of edges"],
)
def test_what_is_wrong_in_many_places_is_told_in_no_time(document: dict[str, Any]) -> None:
    began = time.thread_time()
    with pytest.raises(InvalidDefinition) as caught:
        read_definition(document)
    assert time.thread_time() - began < 2
    assert len(caught.value.problems) == 201
    assert sum("did you mean" in p.message for p in caught.value.problems) <= 20


def layers() -> dict[str, Any]:
    """Return a valid definition of 10,000 nodes and 89,100 edges."""
    width, depth, upstreams = 100, 100, 9
    nodes = [{"id": f"n{no}", "type": "noop"} for no in range(width * depth)]
    edges = [
        {"source": f"n{layer * width + no}", "target": f"n{(layer + 1) * width + to % width}"}
        for layer in range(depth - 1)
        for no in range(width)
        for to in range(no, no + upstreams)
    ]
    return {"name": "large", "nodes": nodes, "edges": edges}


def test_the_largest_definition_is_read_soon() -> None:
    document = layers()
    began = time.thread_time()
    workflow = read_definition(document)
    assert time.thread_time() - began < 2
    assert (len(workflow.nodes), len(workflow.edges)) == (10_000, 89_100)
    began = time.thread_time()
    assert read_definition(shape_of(workflow)) == workflow
    assert time.thread_time() - began < 2


def test_a_large_definition_is_judged_in_linear_time() -> None:
    count = 10_000
    nodes = [
        node(f"n{no}", "transform", expression=f"nodes.n{no // 2}.output") for no in range(count)
    ]
    nodes[0] = node("n0")
    edges = tuple(Edge(f"e{no}", f"n{no - 1}", f"n{no}") for no in range(1, count))
    workflow = Workflow("w", tuple(nodes), edges)
    began = time.process_time()
    assert problems_of(workflow) == []
    assert len(compile_plan(workflow).nodes) == count
    assert time.process_time() - began < 3
    ring = Workflow(
        "w",
        tuple(map(node, (f"n{no}" for no in range(count)))),
        (*edges, Edge("e", f"n{count - 1}", "n0")),
    )
    assert [p.message[:25] for p in problems_of(ring)] == ["a cycle: n0 -> n1 -> n2 -"]


@pytest.mark.parametrize(
    "text",
    [
        "nodes: [" + "a," * 2_400_000 + "]",
        "nodes: [" + "{a}," * 1_200_000 + "]",
        "name: a\nnodes:\n a: {needs: [" + "b," * 450_000 + "]}",
        "name: a\nnodes:\n" + "".join(f" n{no}: b\n" for no in range(200_000)),
        "name: a\nnodes:\n a: noop\n" + "".join(f"n{no}: b\n" for no in range(200_000)),
        '{"nodes": [' + "{}," * 1_600_000 + "0]}",
    ],
    ids=["texts", "maps", "needs", "nodes", "fields", "JSON"],
)
def test_yaml_of_many_values_is_refused_soon(text: str) -> None:
    began = time.thread_time()
    with pytest.raises(InvalidDefinition):
        read_definition(from_yaml(text))
    assert time.thread_time() - began < 2


def test_the_largest_definition_comes_back_from_yaml_soon() -> None:
    workflow = read_definition(layers())
    text = to_yaml(shape_of(workflow))
    began = time.thread_time()
    found = read_definition(from_yaml(text))
    assert time.thread_time() - began < 2.5
    assert (len(found.nodes), len(found.edges)) == (10_000, 89_100)
