"""A compiled workflow: who waits for whom, who depends on whom, by task number.

Stored runs rely on the numbers: `no` is the index in `Workflow.nodes`, for ever.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.errors import InvalidDefinition, Problem
from orchestrator.models.definitions import graph
from orchestrator.models.definitions.node import DEFAULT_TIMEOUT_S, Node, RetryPolicy
from orchestrator.models.definitions.validation import adjacency, findings
from orchestrator.models.definitions.workflow import Workflow
from orchestrator.models.expressions.expression import Reference, expression_references


class _OfTask(Protocol):
    """Whatever belongs to one task of a run."""

    @property
    def task_no(self) -> int: ...


@dataclass(frozen=True, slots=True)
class PlanNode:
    """One task to be: its node, and its neighbours by number."""

    no: int
    node: Node
    upstream: tuple[int, ...]
    dependants: tuple[int, ...]
    #: Edges that lead here: two handles of one branch are two, each taken or skipped by itself.
    edges_in: int
    #: (dependant, handle) of each edge that leads on; None where any outcome is taken.
    edges_out: tuple[tuple[int, str | None], ...]
    #: Tasks whose output the config reads.
    needs: tuple[int, ...]
    #: The node's own policy, or the workflow's.
    retry: RetryPolicy
    timeout_s: float
    #: What the config reads of `secrets` and of `vars`, by name; for most nodes nothing.
    secrets: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All tasks of a run of this workflow, in the order of their numbers."""

    workflow: Workflow
    nodes: tuple[PlanNode, ...]
    roots: tuple[int, ...]
    leaves: tuple[int, ...]
    output: str | None
    timeout_s: float | None
    numbers: dict[str, int]
    #: Tasks whose output `output` reads; every task when it reads `nodes` as a whole.
    output_needs: tuple[int, ...]
    #: Every queue its tasks go to, each once.
    queues: tuple[str, ...]
    #: Types its tasks have.
    types: tuple[str, ...]

    def by_id(self, node_id: str) -> PlanNode:
        """Raises KeyError for an id the plan does not have."""
        return self.nodes[self.numbers[node_id]]

    def node_of(self, task: _OfTask | int) -> PlanNode:
        """The node of a task: of a claim, a release, a task that was read, or by its number."""
        return self.nodes[task if isinstance(task, int) else task.task_no]

    def start_rows(self) -> list[list[Any]]:
        """What starting a run writes, one JSON-ready row a task.

        `[no, id, type, queue, priority, trigger_rule, n_edges_in, dependants,
        handles or null, max_attempts, max_losses, timeout_s]`; a dependant stands once for each
        edge to it, with that edge's handle beside it.
        """
        return [
            [
                task.no,
                task.node.id,
                task.node.type,
                task.node.queue,
                task.node.priority,
                task.node.trigger_rule.value,
                task.edges_in,
                [no for no, _ in task.edges_out],
                [handle for _, handle in task.edges_out]
                if any(handle for _, handle in task.edges_out)
                else None,
                task.retry.max_attempts,
                task.retry.max_losses,
                task.timeout_s,
            ]
            for task in self.nodes
        ]


def compile(workflow: Workflow) -> Plan:  # noqa: A001
    """The plan of a workflow that `validate()` finds no problem with.

    Raises InvalidDefinition for a cycle or a dangling edge, which no run could survive;
    other problems are not looked for again.
    """
    numbers = {node.id: no for no, node in enumerate(workflow.nodes)}
    dependants = adjacency(workflow, numbers)
    _refuse_broken(workflow, numbers, dependants)
    upstream: list[list[int]] = [[] for _ in dependants]
    for source, row in enumerate(dependants):
        for target in row:
            upstream[target].append(source)
    edges_out = _edges_out(workflow, numbers)
    edges_in = Counter(target for row in edges_out for target, _ in row)
    reads = [_reads(node) for node in workflow.nodes]
    nodes = tuple(
        PlanNode(
            no,
            node,
            tuple(upstream[no]),
            tuple(dependants[no]),
            edges_in[no],
            edges_out[no],
            tuple(sorted(numbers[name] for name in reads[no]["nodes"] if name in numbers)),
            node.retry or workflow.settings.retry,
            DEFAULT_TIMEOUT_S if node.timeout_s is None else node.timeout_s,
            tuple(sorted(reads[no]["secrets"])),
            tuple(sorted(reads[no]["vars"])),
        )
        for no, node in enumerate(workflow.nodes)
    )
    return Plan(
        workflow,
        nodes,
        tuple(task.no for task in nodes if not task.upstream),
        tuple(task.no for task in nodes if not task.dependants),
        workflow.settings.output,
        workflow.settings.timeout_s,
        numbers,
        _output_needs(workflow, numbers),
        tuple(sorted({node.queue for node in workflow.nodes})),
        tuple(sorted({node.type for node in workflow.nodes})),
    )


def _refuse_broken(
    workflow: Workflow, numbers: dict[str, int], dependants: list[list[int]]
) -> None:
    dangling = [e.id for e in workflow.edges if not {e.source, e.target} <= numbers.keys()]
    if dangling:
        text = f"edges lead to no node: {', '.join(dangling[:5])}"
        raise InvalidDefinition([Problem("edges", "dangling_edge", text)])
    if len(numbers) < len(workflow.nodes):
        raise InvalidDefinition([Problem("nodes", "duplicate_node_id", "ids are used twice")])
    if len(graph.order(dependants)) < len(workflow.nodes):
        raise InvalidDefinition([Problem("nodes", "cycle", "the nodes form a cycle")])


def _edges_out(
    workflow: Workflow, numbers: dict[str, int]
) -> list[tuple[tuple[int, str | None], ...]]:
    """For each node the edges that lead on, each once, those to one dependant side by side."""
    rows: list[dict[int, dict[str | None, None]]] = [{} for _ in workflow.nodes]
    for edge in workflow.edges:
        handles = rows[numbers[edge.source]].setdefault(numbers[edge.target], {})
        handles[edge.source_handle] = None
    return [
        tuple((target, handle) for target, handles in row.items() for handle in handles)
        for row in rows
    ]


def _output_needs(workflow: Workflow, numbers: dict[str, int]) -> tuple[int, ...]:
    source = workflow.settings.output
    reads = expression_references(source) if source else frozenset()
    if Reference("nodes", None) in reads:
        return tuple(range(len(workflow.nodes)))
    names = {reference.name for reference in reads if reference.root == "nodes"}
    return tuple(no for node_id, no in numbers.items() if node_id in names)


def _reads(node: Node) -> dict[str, set[str]]:
    """The names that a node's config reads, by root."""
    found: dict[str, set[str]] = {"nodes": set(), "secrets": set(), "vars": set()}
    for _, references, _ in findings(node):
        for root, name in references:
            if name is not None and root in found:
                found[root].add(name)
    return found
