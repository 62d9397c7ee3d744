"""One transaction in memory: what it changes is undone, newest first, when it does not commit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from orchestrator.adapters.memory.moves import moved
from orchestrator.adapters.memory.quotas import NoQuotas
from orchestrator.adapters.memory.rerun import take_over
from orchestrator.adapters.memory.tables import (
    KeyRow,
    RunRow,
    Tables,
    TaskRow,
    VersionRow,
    later,
    pack,
    unpack,
)
from orchestrator.errors import (
    Conflict,
    IdempotencyMismatch,
    IllegalMove,
    NameTaken,
    NotFound,
    VersionMismatch,
)
from orchestrator.models.definitions.saved import SavedWorkflow, Version, WorkflowStatus
from orchestrator.models.runs.event import Kind
from orchestrator.models.runs.task import TaskState
from orchestrator.ports.moves import Moved, NewRun

Undo = Callable[[], object]
_LIVE = frozenset(WorkflowStatus) - {WorkflowStatus.ARCHIVED}


class MemoryUnitOfWork:
    """Answers `ports.store.UnitOfWork`; whoever opened it holds the tables' lock."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._undo: list[Undo] = []
        self._wakes = False
        self.workflows = MemoryWorkflows(tables, self._undo)
        self.keys = MemoryKeys(tables, self._undo)
        self.quotas = NoQuotas()

    def store_run(self, new: NewRun) -> Moved:
        """See the port. NotFound when the tenant has no such workflow version."""
        tables = self._tables
        found = tables.versions.get((new.workflow_id, new.version))
        if found is None or found.tenant_id != new.tenant_id:
            raise NotFound(f"workflow {new.workflow_id} has no version {new.version}")
        if new.id in tables.runs:
            raise Conflict(f"there is a run {new.id} already")
        run = _new_run(new, unpack(found.plan), tables)
        self._wakes = self._wakes or not tables.live_runs()
        tables.runs[run.id] = run
        self._undo.append(lambda: tables.runs.pop(run.id))
        events = [run.say(Kind.RUN, run.created_at, state=str(run.state))]
        put = sorted(
            (t for t in run.tasks.values() if t.upstreams == 0),
            key=lambda t: (-t.priority, t.task_no),
        )[: max(0, new.room)]
        for task in put:
            task.attempt = 1
            task.enqueue(run.created_at)
            events.append(run.say_task(task, run.created_at))
        return moved(
            run,
            events=tuple(events),
            queued=tuple(task.release(run.id) for task in put),
            size=len(run.tasks),
            stored_bytes=len(run.input or b""),
        )

    def store_rerun(self, new: NewRun, kept: Mapping[int, int]) -> Moved:
        """See the port."""
        origin = self._tables.runs.get(new.origin_run_id) if new.origin_run_id else None
        if origin is None or origin.tenant_id != new.tenant_id or not origin.state.ended:
            raise IllegalMove("only a run that has ended can be run again; cancel it first")
        like_origin = replace(
            new,
            workflow_id=origin.workflow_id,
            input=unpack(origin.input) if new.input is None else new.input,
            room=0,
        )
        started = self.store_run(like_origin)
        run = self._tables.runs[new.id]
        return take_over(run, origin, started, kept, new.room)

    def commit(self) -> None:
        """Keep what was done, and wake upkeep where it may sleep too long."""
        self._undo.clear()
        if self._wakes:
            self._tables.woken.set()

    def roll_back(self) -> None:
        """Take everything back."""
        while self._undo:
            self._undo.pop()()


class MemoryKeys:
    """Answers `ports.workflows.Keys`."""

    def __init__(self, tables: Tables, undo: list[Undo]) -> None:
        self._tables = tables
        self._undo = undo

    def take(self, tenant_id: UUID, key: str, digest: str, resource_id: UUID) -> UUID | None:
        """See the port. A second caller waits for the first one's transaction to end."""
        keys = self._tables.keys
        known = keys.get((tenant_id, key))
        if known is not None:
            if known.digest != digest:
                raise IdempotencyMismatch
            return known.resource_id
        keys[tenant_id, key] = KeyRow(
            digest=digest, resource_id=resource_id, created_at=self._tables.clock.now()
        )
        self._undo.append(lambda: keys.pop((tenant_id, key)))
        return None


class MemoryWorkflows:
    """Answers `ports.workflows.Workflows`."""

    def __init__(self, tables: Tables, undo: list[Undo]) -> None:
        self._tables = tables
        self._undo = undo

    def add_workflow(self, saved: SavedWorkflow, definition: Mapping[str, Any], plan: Any) -> None:
        """See the port."""
        if saved.id in self._tables.workflows:
            raise Conflict(f"there is a workflow {saved.id} already")
        self._check_name(saved)
        self._put(saved, definition, plan)

    def change(self, saved: SavedWorkflow, definition: Mapping[str, Any], plan: Any) -> None:
        """See the port. The id, the tenant, `created_at` and `ad_hoc` never change."""
        stored = self.get_workflow(saved.tenant_id, saved.id)
        if stored is None or stored.version != saved.version - 1:
            raise VersionMismatch
        kept = replace(saved, created_at=stored.created_at, ad_hoc=stored.ad_hoc)
        self._check_name(kept)
        self._put(kept, definition, plan)

    def _check_name(self, saved: SavedWorkflow) -> None:
        if _listed(saved) and any(
            w.id != saved.id for w in self._of(saved.tenant_id) if w.name == saved.name
        ):
            raise NameTaken(f"another workflow is named {saved.name!r}; choose another name")

    def _put(self, saved: SavedWorkflow, definition: Mapping[str, Any], plan: Any) -> None:
        tables, stored = self._tables, self._tables.workflows.get(saved.id)
        key = saved.id, saved.version
        row = VersionRow(
            tenant_id=saved.tenant_id,
            definition=pack(definition) or b"{}",
            plan=pack(plan) or b"{}",
            created_at=saved.updated_at,
        )
        tables.workflows[saved.id], tables.versions[key] = saved, row
        if stored is None:
            self._undo.append(lambda: tables.workflows.pop(saved.id))
        else:
            self._undo.append(lambda: tables.workflows.update({saved.id: stored}))
        self._undo.append(lambda: tables.versions.pop(key))

    def _of(self, tenant_id: UUID) -> list[SavedWorkflow]:
        found = [w for w in self._tables.workflows.values() if w.tenant_id == tenant_id]
        return sorted((w for w in found if _listed(w)), key=lambda w: w.id, reverse=True)

    def get_workflow(
        self, tenant_id: UUID, workflow_id: UUID, *, lock: bool = False
    ) -> SavedWorkflow | None:
        """See the port. Whoever opened the unit has everything locked."""
        saved = self._tables.workflows.get(workflow_id)
        return saved if saved and saved.tenant_id == tenant_id else None

    def named(self, tenant_id: UUID, name: str) -> SavedWorkflow | None:
        """See the port."""
        return next((w for w in self._of(tenant_id) if w.name == name), None)

    def list(
        self,
        tenant_id: UUID,
        *,
        before: UUID | None,
        limit: int,
        query: str | None,
        among: frozenset[UUID] | None = None,
        name: str | None = None,
        statuses: Collection[WorkflowStatus] = (),
    ) -> list[SavedWorkflow]:
        """See the port."""
        wanted = statuses or _LIVE
        mine = (w for w in self._tables.workflows.values() if w.tenant_id == tenant_id)
        found = [w for w in mine if not w.ad_hoc and w.status in wanted]
        found.sort(key=lambda w: w.id, reverse=True)
        found = [w for w in found if before is None or w.id < before]
        if name is not None:
            found = [w for w in found if w.name == name]
        if among is not None:
            found = [w for w in found if w.id in among]
        if query:
            found = [w for w in found if query.lower() in w.name.lower()]
        return found[:limit]

    def version(self, workflow_id: UUID, version: int) -> Version | None:
        """See the port."""
        row = self._tables.versions.get((workflow_id, version))
        return row.read(workflow_id, version) if row else None

    def versions(self, workflow_id: UUID, *, before: int | None, limit: int) -> Sequence[Version]:
        """See the port."""
        rows = self._tables.versions
        numbers = sorted((n for w, n in rows if w == workflow_id), reverse=True)
        found = [n for n in numbers if before is None or n < before][:limit]
        return [replace(rows[workflow_id, n].read(workflow_id, n), definition={}) for n in found]


def _listed(saved: SavedWorkflow) -> bool:
    return not saved.ad_hoc and saved.status is not WorkflowStatus.ARCHIVED


def _new_run(new: NewRun, plan: Mapping[str, Any], tables: Tables) -> RunRow:
    now = tables.clock.now()
    timeout_s = plan.get("timeout_s")
    return RunRow(
        id=new.id,
        tenant_id=new.tenant_id,
        workflow_id=new.workflow_id,
        version=new.version,
        trigger=new.trigger,
        tags=tuple(new.tags),
        input=pack(new.input),
        leaves=tuple(plan["leaves"]) if plan.get("output") is None else None,
        origin_run_id=new.origin_run_id,
        created_at=now,
        deadline_at=None if timeout_s is None else later(now, timeout_s),
        open=len(plan["rows"]),
        tasks={row[0]: _new_task(row) for row in plan["rows"]},
    )


def _new_task(row: list[Any]) -> TaskRow:
    no, node_id, type_, queue, priority, rule, upstreams, dependants, handles, *limits = row
    max_attempts, max_losses, timeout_s = limits
    return TaskRow(
        task_no=no,
        node_id=node_id,
        type=type_,
        queue=queue,
        priority=priority,
        state=TaskState.PENDING if upstreams else TaskState.READY,
        trigger_rule=rule,
        upstreams=upstreams,
        waits_for=upstreams,
        dependants=tuple(dependants),
        handles=None if handles is None else tuple(handles),
        max_attempts=max_attempts,
        max_losses=max_losses,
        timeout_s=timeout_s,
    )
