"""What a new run takes over from an ended one, node by node, and why the rest runs again.

Pure: two plans, the tasks of the ended run, and what was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.models.definitions.plan import Plan, PlanNode
from orchestrator.models.definitions.validation import findings
from orchestrator.models.runs.rules import meaning
from orchestrator.models.runs.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeVerdict:
    """What becomes of one node of the new run. `reason` is None where it is taken over.

    `origin_no` is the number of its task in the ended run, `task_no` the one in the new run.
    """

    node_id: str
    task_no: int
    origin_no: int | None
    reason: str | None = None

    @property
    def taken_over(self) -> bool:
        """Whether its end and its output are the new run's too."""
        return self.reason is None


def judge(
    old: Plan, new: Plan, tasks: Sequence[Task], *, from_node: str | None, same_input: bool
) -> list[NodeVerdict]:
    """Return a verdict for each node of `new`, in the order of its tasks.

    A task is taken over only if all of its upstream tasks are: `old` and `new` may be one plan.
    """
    ended = {task.task_no: task for task in tasks}
    why: dict[int, str] = {}
    for node in new.nodes:
        reason = _own_reason(old, new, node, ended, from_node, same_input=same_input)
        if reason is not None:
            why[node.no] = reason
    left = list(why)
    while left:
        cause = new.node_of(left.pop())
        for no in cause.dependants:
            if no not in why:
                why[no] = f"it depends on {cause.node.id}, which runs again"
                left.append(no)
    return [
        NodeVerdict(
            node_id=node.node.id,
            task_no=node.no,
            origin_no=old.numbers.get(node.node.id),
            reason=why.get(node.no),
        )
        for node in new.nodes
    ]


def _own_reason(
    old: Plan,
    new: Plan,
    node: PlanNode,
    ended: dict[int, Task],
    from_node: str | None,
    *,
    same_input: bool,
) -> str | None:
    """Return why a node runs again whatever its upstream tasks do; None: it need not."""
    node_id = node.node.id
    if node_id == from_node:
        return "the run was asked for from here"
    if node_id not in old.numbers:
        return "the run's version has no such node"
    before = old.by_id(node_id)
    task = ended.get(before.no)
    if task is None or not may_stay(task):
        return f"it has {task.state}" if task is not None else "it has no end"
    if old is not new and (changed := _changed(old, new, before, node)):
        return f"changed between the versions: {', '.join(changed)}"
    if not same_input and _reads_input(node):
        return "it reads `inputs`, and the input is another one"
    return None


def may_stay(task: Task) -> bool:
    """True for an end that a new run may keep: a success, or a way that a branch did not take."""
    return task.state.ended and meaning(task.state, task.reason) != "failed"


def _changed(old: Plan, new: Plan, before: PlanNode, now: PlanNode) -> list[str]:
    """Return what of a node's meaning differs. How often and how long it is tried is no part."""
    differs = {
        "type": before.node.type != now.node.type,
        "config": before.node.config != now.node.config,
        "trigger rule": before.node.trigger_rule != now.node.trigger_rule,
        "edges into it": _edges_into(old, before) != _edges_into(new, now),
    }
    return [name for name, changed in differs.items() if changed]


def _edges_into(plan: Plan, node: PlanNode) -> set[tuple[str, str | None]]:
    return {
        (plan.node_of(source).node.id, handle)
        for source in node.upstream
        for target, handle in plan.node_of(source).edges_out
        if target == node.no
    }


def _reads_input(node: PlanNode) -> bool:
    return any(each.root == "inputs" for _, reads, _ in findings(node.node) for each in reads)
