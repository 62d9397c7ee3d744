"""Makers of what tests need: plans as `Workflows.add` takes them, saved workflows, started runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

from orchestrator.models.access.permissions import Principal, PrincipalKind
from orchestrator.models.definitions.saved import SavedWorkflow, WorkflowStatus
from orchestrator.models.ids import DEFAULT_TENANT, uuid7
from orchestrator.models.runs.run import Trigger
from orchestrator.ports.fleet import Beat
from orchestrator.ports.moves import Moved, NewRun
from orchestrator.ports.store import Store
from orchestrator.services.access.passwords import Passwords
from web.access.shares import Shares

PlanJson = dict[str, Any]
#: What every installation of the tests signs and seals with.
SECRET_KEY = "7d0b6f3e9ac1452d8e07f6b1c3a95428d1e6f0937bc4a25a"


def quick_passwords() -> Passwords:
    """Return passwords whose hashes cost next to nothing."""
    return Passwords(PasswordHasher.from_parameters(CHEAPEST), waiting=64)


def new_id() -> UUID:
    """Return a fresh UUIDv7."""
    return uuid7(datetime.now(UTC))


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of a plan. `needs` names upstream nodes, `"size:big,huge"` by these handles only."""

    id: str
    needs: tuple[str, ...] = ()
    rule: str = "all_success"
    queue: str = "default"
    priority: int = 5
    max_attempts: int = 3
    max_losses: int = 3
    timeout_s: float = 60.0
    type: str = "noop"


def node(id: str, *needs: str, **more: Any) -> Node:
    """Return a node that waits for the nodes it names."""
    return Node(id=id, needs=needs, **more)


def plan(*nodes: Node, output: str | None = None, timeout_s: float | None = None) -> PlanJson:
    """Compile nodes into the plan JSON; tasks are numbered in the order given."""
    numbers = {n.id: no for no, n in enumerate(nodes)}
    edges: list[tuple[int, int, str | None]] = []
    for target in nodes:
        for need in target.needs:
            source, _, handles = need.partition(":")
            edges.append((numbers[source], numbers[target.id], handles or None))
    rows = []
    for no, n in enumerate(nodes):
        out = [(dst, handles) for src, dst, handles in edges if src == no]
        handles = [h for _, h in out] if any(h for _, h in out) else None
        rows.append(
            [
                no, n.id, n.type, n.queue, n.priority, n.rule, len(n.needs),
                [dst for dst, _ in out], handles, n.max_attempts, n.max_losses, n.timeout_s,
            ]
        )  # fmt: skip
    leaves = [row[0] for row in rows if not row[7]]
    return {"rows": rows, "leaves": leaves, "output": output, "timeout_s": timeout_s}


def chain(length: int, **more: Any) -> PlanJson:
    """Return n0 -> n1 -> ..."""
    nodes = [node("n0", **more)]
    nodes += [node(f"n{i}", f"n{i - 1}", **more) for i in range(1, length)]
    return plan(*nodes)


def diamond(**join: Any) -> PlanJson:
    """Return a -> (b, c) -> d; the keywords go to d."""
    return plan(node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c", **join))


def join_of(width: int, **join: Any) -> PlanJson:
    """Return `width` roots w0, w1, ... that one task `join` waits for."""
    roots = [node(f"w{i}") for i in range(width)]
    return plan(*roots, node("join", *(r.id for r in roots), **join))


def saved(
    name: str | None = None,
    *,
    id: UUID | None = None,
    tenant_id: UUID = DEFAULT_TENANT,
    version: int = 1,
    status: WorkflowStatus = WorkflowStatus.PUBLISHED,
    ad_hoc: bool = False,
    description: str = "",
) -> SavedWorkflow:
    """Return a workflow's row; without a name it gets one that nobody else has."""
    at = datetime.now(UTC)
    id = id or uuid7(at)
    return SavedWorkflow(
        id=id, tenant_id=tenant_id, name=name or f"workflow-{id}", description=description,
        status=status, version=version, created_at=at, updated_at=at, ad_hoc=ad_hoc,
    )  # fmt: skip


def store_workflow(store: Store, plan: PlanJson, **more: Any) -> SavedWorkflow:
    """Store a workflow with this plan; the definition is a stand-in that names its nodes."""
    workflow = saved(**more)
    definition = {"name": workflow.name, "nodes": [{"id": row[1]} for row in plan["rows"]]}
    with store.begin() as work:
        work.workflows.add_workflow(workflow, definition, plan)
    return workflow


def new_run(workflow: SavedWorkflow, **more: Any) -> NewRun:
    """Return a run of a workflow that is to be started; by default every root is queued."""
    return NewRun(
        **{
            "id": new_id(),
            "tenant_id": workflow.tenant_id,
            "workflow_id": workflow.id,
            "version": workflow.version,
            "trigger": Trigger.API,
            "input": None,
            "room": 1000,
            **more,
        }
    )


def start(store: Store, plan: PlanJson, **more: Any) -> Moved:
    """Store a workflow with this plan and start a run of it; the keywords go to the run."""
    workflow = store_workflow(store, plan, tenant_id=more.get("tenant_id", DEFAULT_TENANT))
    with store.begin() as work:
        return work.store_run(new_run(workflow, **more))


def beat(
    id: UUID | None = None,
    *,
    queues: Sequence[str] = ("default",),
    slots: int = 4,
    children: Sequence[int] = (1, 2),
    name: str = "worker@test",
) -> Beat:
    """Return a worker's sign of life."""
    return Beat(
        id=id or new_id(), name=name, host="test", pid=1, version="0", queues=tuple(queues),
        slots=slots, children=tuple(children),
    )  # fmt: skip


def take_all(shares: Shares) -> None:
    """Take every place there is, for strangers of as many tenants."""
    while shares.take(
        Principal(id=uuid4(), tenant_id=uuid4(), kind=PrincipalKind.KEY, name="a stranger")
    ):
        pass
