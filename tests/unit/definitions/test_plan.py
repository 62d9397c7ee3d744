"""Compiling: numbers, neighbours, handles, what is read; on random graphs as well."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidDefinition
from orchestrator.models.definitions import graph
from orchestrator.models.definitions.node import Node, OnLost, RetryPolicy
from orchestrator.models.definitions.plan import compile as compile_plan
from orchestrator.models.definitions.validation import problems_of
from orchestrator.models.definitions.workflow import Edge, Workflow, WorkflowSettings

CASES = [{"when": "true", "handle": "big"}, {"when": "false", "handle": "huge"}]
WORKFLOW = Workflow(
    "w",
    (
        Node("end", "noop", queue="slow", priority=7),
        Node("pick", "branch", config={"cases": CASES}, retry=RetryPolicy(max_attempts=4)),
        Node("read", "transform", config={"expression": "nodes.pick.output"}, timeout_s=9),
        Node("log", "http", config={"url": "{{ nodes['read'].output }}{{ nodes.pick.output }}"}),
    ),
    (
        Edge("1", "pick", "read", "big"),
        Edge("2", "pick", "read", "huge"),
        Edge("3", "pick", "log", "big"),
        Edge("4", "pick", "log"),
        Edge("5", "read", "log"),
        Edge("6", "log", "end"),
    ),
    settings=WorkflowSettings(3600, RetryPolicy(on_lost=OnLost.FAIL), "nodes.read.output"),
)


def test_numbers_neighbours_and_handles() -> None:
    plan = compile_plan(WORKFLOW)
    assert (plan.roots, plan.leaves, plan.output_needs) == ((1,), (0,), (2,))
    assert (plan.timeout_s, plan.output, plan.queues) == (
        3600,
        "nodes.read.output",
        ("default", "slow"),
    )
    pick = plan.by_id("pick")
    assert (pick.no, pick.dependants) == (1, (2, 3))
    assert pick.edges_out == ((2, "big"), (2, "huge"), (3, "big"), (3, None))
    log = plan.by_id("log")
    assert (log.upstream, log.needs) == ((1, 2), (1, 2))


def test_start_rows_are_json_and_carry_policies() -> None:
    rows = compile_plan(WORKFLOW).start_rows()
    assert json.loads(json.dumps(rows)) == [
        [0, "end", "noop", "slow", 7, "all_success", 1, [], None, 1, 0, 300.0],
        [
            1,
            "pick",
            "branch",
            "default",
            5,
            "all_success",
            0,
            [2, 2, 3, 3],
            ["big", "huge", "big", None],
            4,
            3,
            300.0,
        ],
        [2, "read", "transform", "default", 5, "all_success", 2, [3], None, 1, 0, 9],
        [3, "log", "http", "default", 5, "all_success", 3, [0], None, 1, 0, 300.0],
    ]


@pytest.mark.parametrize(
    "workflow",
    [
        Workflow("w", (Node("a", "noop"),), (Edge("1", "a", "a"),)),
        Workflow("w", (Node("a", "noop"),), (Edge("1", "a", "b"),)),
        Workflow("w", (Node("a", "noop"), Node("a", "noop"))),
    ],
)
def test_what_no_run_could_survive_does_not_compile(workflow: Workflow) -> None:
    with pytest.raises(InvalidDefinition):
        compile_plan(workflow)


@st.composite
def dags(draw: st.DrawFn) -> Workflow:
    count = draw(st.integers(1, 12))
    names = draw(st.permutations([f"n{no}" for no in range(count)]))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    edges = tuple(Edge(f"{a}-{b}", names[a], names[b]) for a, b in chosen)
    return Workflow("w", tuple(Node(f"n{no}", "noop") for no in range(count)), edges)


@settings(max_examples=60, deadline=None)
@given(dags())
def test_a_random_dag_runs_in_a_legal_order(workflow: Workflow) -> None:
    assert problems_of(workflow) == []
    plan = compile_plan(workflow)
    waits = {task.no: len(task.upstream) for task in plan.nodes}
    ready, done = list(plan.roots), []
    while ready:
        no = ready.pop()
        done.append(plan.nodes[no].node.id)
        for dependant in plan.nodes[no].dependants:
            waits[dependant] -= 1
            if waits[dependant] == 0:
                ready.append(dependant)
    assert sorted(done) == sorted(node.id for node in workflow.nodes)
    assert all(done.index(edge.source) < done.index(edge.target) for edge in workflow.edges)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16))
def test_cycles_are_real_apart_and_none_is_missed(pairs: list[tuple[int, int]]) -> None:
    targets: list[list[int]] = [[] for _ in range(8)]
    for source, target in set(pairs):
        targets[source].append(target)
    found = graph.cycles(targets)
    for path in found:
        assert path[0] == path[-1]
        assert len(set(path)) == len(path) - 1
        assert all(b in targets[a] for a, b in itertools.pairwise(path))
    assert len({no for path in found for no in path}) == sum(len(path) - 1 for path in found)
    assert bool(found) == (len(graph.order(targets)) < 8)
