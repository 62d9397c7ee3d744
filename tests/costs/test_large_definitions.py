"""Definitions and inputs as large as they come: what they cost is bounded."""

from __future__ import annotations

import time
from typing import Any

import pytest

from orchestrator.errors import InvalidDefinition
from orchestrator.models.definitions.plan import compile as compile_plan
from orchestrator.models.definitions.validation import problems_of
from orchestrator.models.definitions.workflow import Edge, Workflow, check_input
from orchestrator.services.definitions.reading import read_definition
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


def test_many_unknown_fields_are_told_in_no_time() -> None:
    document = {**a_document(), **{f"nam{no}": 1 for no in range(200_000)}}
    began = time.thread_time()
    with pytest.raises(InvalidDefinition) as caught:
        read_definition(document)
    assert time.thread_time() - began < 15
    assert len(caught.value.problems) == 201
    assert sum("did you mean" in p.message for p in caught.value.problems) <= 20


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
