"""What a rerun takes over: the rules, and the promise that holds for any two versions."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.models.definitions.node import Node, TriggerRule
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.definitions.plan import compile as compile_plan
from orchestrator.models.definitions.workflow import Edge, Workflow
from orchestrator.models.runs.task import Task, TaskState
from orchestrator.services.runs.taking_over import judge
from tests.factories import new_id

NAMES = "abcdef"


def _plan(nodes: tuple[Node, ...], edges: tuple[tuple[str, str], ...]) -> Plan:
    return compile_plan(Workflow("w", nodes, tuple(Edge(f"{a}{b}", a, b) for a, b in edges)))


def _tasks(plan: Plan, failed: frozenset[str]) -> list[Task]:
    run_id = new_id()
    return [
        Task(
            run_id=run_id, task_no=node.no, node_id=node.node.id, map_index=None,
            type=node.node.type, attempt=1, max_attempts=1, reason=None, queued_at=None,
            started_at=None, finished_at=None, due_at=None, worker=None, output=None, error=None,
            waits_for=0,
            state=TaskState.FAILED if node.node.id in failed else TaskState.SUCCEEDED,
        )
        for node in plan.nodes
    ]  # fmt: skip


@st.composite
def _versions(draw: st.DrawFn) -> Plan:
    order = draw(st.permutations(NAMES))
    names = order[: draw(st.integers(1, len(order)))]
    pairs = [(a, b) for a in names for b in names if a < b]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    configs: Any = st.sampled_from([{}, {"output": 1}, {"output": "{{ inputs.x }}"}])
    rules = st.sampled_from([TriggerRule.ALL_SUCCESS, TriggerRule.ALL_DONE])
    nodes = tuple(Node(n, "noop", config=draw(configs), trigger_rule=draw(rules)) for n in names)
    return _plan(nodes, tuple(edges))


@given(
    _versions(), _versions(), st.frozensets(st.sampled_from(NAMES)), st.booleans(), st.booleans()
)
def test_what_is_taken_over_has_all_its_upstream_taken_over(
    old: Plan, new: Plan, failed: frozenset[str], same_version: bool, same_input: bool
) -> None:
    new = old if same_version else new
    start = new.nodes[0].node.id
    for from_node in (None, start):
        verdicts = judge(old, new, _tasks(old, failed), from_node=from_node, same_input=same_input)
        assert [v.task_no for v in verdicts] == [n.no for n in new.nodes]
        kept = {v.task_no for v in verdicts if v.taken_over}
        for no in kept:
            now, before = new.node_of(no), old.by_id(new.node_of(no).node.id)
            assert set(now.upstream) <= kept
            assert now.node.id not in failed | {from_node}
            assert (now.node.config, now.node.trigger_rule) == (
                before.node.config,
                before.node.trigger_rule,
            )
            assert {new.node_of(n).node.id for n in now.upstream} == {
                old.node_of(n).node.id for n in before.upstream
            }
            assert same_input or "inputs" not in str(now.node.config)


def test_the_same_version_takes_over_all_that_succeeded() -> None:
    plan = _plan((Node("a", "noop"), Node("b", "noop"), Node("c", "noop")), (("a", "b"),))
    (a, b, c) = judge(plan, plan, _tasks(plan, frozenset("a")), from_node=None, same_input=True)
    assert (a.reason, b.reason) == ("it has failed", "it depends on a, which runs again")
    assert c.taken_over


def test_how_often_and_where_a_node_runs_is_no_part_of_its_meaning() -> None:
    old = _plan((Node("a", "noop"),), ())
    new = _plan((Node("a", "noop", label="A", queue="big", priority=9, timeout_s=5.0),), ())
    (found,) = judge(old, new, _tasks(old, frozenset()), from_node=None, same_input=True)
    assert found.taken_over


def test_the_reason_says_what_changed() -> None:
    old = _plan((Node("a", "noop"), Node("b", "noop")), ())
    nodes = (Node("a", "wait"), Node("b", "noop", trigger_rule=TriggerRule.ALL_DONE))
    new = _plan(nodes, (("a", "b"),))
    a, b = judge(old, new, _tasks(old, frozenset()), from_node=None, same_input=True)
    assert a.reason == "changed between the versions: type"
    assert b.reason == "changed between the versions: trigger rule, edges into it"
