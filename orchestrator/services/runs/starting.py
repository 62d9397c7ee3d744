"""Starting runs: of a saved workflow, or of a definition that came with the request.

Stores them only; whoever called tells the world. A workflow that this process has started before
costs one round trip: the record checks that its version is still the newest.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from orchestrator.errors import IllegalMove, InvalidDefinition, NotFound, TooLarge
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.definitions.plan import compile as compile_plan
from orchestrator.models.definitions.saved import SavedWorkflow, WorkflowStatus
from orchestrator.models.definitions.workflow import Workflow, check_input
from orchestrator.models.ids import uuid7
from orchestrator.models.runs.run import Run, RunState, StartRequest
from orchestrator.models.runs.task import TaskState
from orchestrator.ports.moves import Moved, NewRun
from orchestrator.ports.runtime import Clock
from orchestrator.ports.store import Store, UnitOfWork
from orchestrator.services.auditing import note_run
from orchestrator.services.definitions.reading import read_definition, shape_of
from orchestrator.services.definitions.workflows import stored_plan
from orchestrator.services.quotas import Quotas
from orchestrator.services.runs.plans import Plans

#: Workflows whose newest version a process remembers.
_WORKFLOWS_KEPT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What became of a request to start a run. Unpacks as (run id, is it new)."""

    run_id: UUID
    #: Nothing, where an earlier request with the same key started the run.
    moved: Moved | None = None
    #: A new run as it was stored.
    run: Run | None = None

    def __iter__(self) -> Iterator[Any]:
        """Yield the run's id, and whether this request started it."""
        yield self.run_id
        yield self.moved is not None


class Starting:
    """Stores runs. Safe to share between threads: a forgotten version only costs a round trip."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        plans: Plans,
        quotas: Quotas,
        room: Callable[[Iterable[str]], int],
        *,
        input_bytes: int,
        quick: bool = True,
    ) -> None:
        self._store = store
        self._clock = clock
        self._plans = plans
        self._quotas = quotas
        self._room = room
        self._input_bytes = input_bytes
        self._quick = quick
        self._newest: OrderedDict[tuple[UUID, UUID], int] = OrderedDict()

    def start(self, tenant_id: UUID, workflow_id: UUID, asked: StartRequest) -> Started:
        """Store a run of a saved workflow: see `WorkflowEngine.start`."""
        run_id = uuid7(self._clock.now())
        self._quotas.admit_record(tenant_id)
        if self._quick and asked.key is None and asked.version is None:
            quick = self._quickly(run_id, tenant_id, workflow_id, asked)
            if quick is not None:
                return quick
        with self._store.begin() as unit:
            if (earlier := _earlier(unit, tenant_id, asked, run_id)) is not None:
                return Started(run_id=earlier)
            saved = unit.workflows.get_workflow(tenant_id, workflow_id)
            if saved is None:
                raise NotFound(f"there is no workflow {workflow_id}")
            if saved.status is WorkflowStatus.ARCHIVED and not saved.ad_hoc:
                raise IllegalMove("the workflow is archived; activate it before starting runs")
            number = asked.version or saved.version
            plan = self._plans.within(unit, workflow_id, number)
            room = self._quotas.admit_run(unit.quotas, tenant_id, self._room(plan.queues))
            new = self._new(run_id, tenant_id, workflow_id, number, plan, asked, room)
            moved = unit.store_run(new)
        self._remember(tenant_id, workflow_id, saved.version)
        return Started(run_id=run_id, moved=moved, run=_as_stored(new, plan, moved))

    def _quickly(
        self, run_id: UUID, tenant_id: UUID, workflow_id: UUID, asked: StartRequest
    ) -> Started | None:
        """Store a run of the version that was the newest; None where it may not be any more."""
        version = self._newest.get((tenant_id, workflow_id))
        plan = self._plans.known(workflow_id, version) if version else None
        if version is None or plan is None or self._quotas.counts_runs(tenant_id):
            return None
        room = self._quotas.room(tenant_id, self._room(plan.queues))
        new = self._new(run_id, tenant_id, workflow_id, version, plan, asked, room)
        moved = self._store.moves.store_run_of_newest(new)
        if moved is None:
            self._newest.pop((tenant_id, workflow_id), None)
            return None
        return Started(run_id=run_id, moved=moved, run=_as_stored(new, plan, moved))

    def _remember(self, tenant_id: UUID, workflow_id: UUID, version: int) -> None:
        self._newest[tenant_id, workflow_id] = version
        while len(self._newest) > _WORKFLOWS_KEPT:
            self._newest.popitem(last=False)

    def execute(self, tenant_id: UUID, document: Mapping[str, Any], asked: StartRequest) -> Started:
        """Store a definition and a run of it: see `WorkflowEngine.execute`."""
        workflow = read_definition(document)
        self._quotas.admit_record(tenant_id)
        now = self._clock.now()
        run_id, workflow_id = uuid7(now), uuid7(now)
        saved = SavedWorkflow(
            id=workflow_id, tenant_id=tenant_id, name=workflow.name, version=1, ad_hoc=True,
            description=workflow.description, status=WorkflowStatus.PUBLISHED,
            created_at=now, updated_at=now,
        )  # fmt: skip
        with self._store.begin() as unit:
            if (earlier := _earlier(unit, tenant_id, asked, run_id)) is not None:
                return Started(run_id=earlier)
            definition = shape_of(workflow)
            unit.workflows.add_workflow(saved, definition, stored_plan(workflow))
            plan = self._plans.keep(workflow_id, 1, compile_plan(workflow))
            room = self._quotas.admit_run(unit.quotas, tenant_id, self._room(plan.queues))
            new = self._new(run_id, tenant_id, workflow_id, 1, plan, asked, room)
            moved = unit.store_run(new)
        self._quotas.count_record(tenant_id, len(json.dumps(definition)))
        return Started(run_id=run_id, moved=moved, run=_as_stored(new, plan, moved))

    def _new(
        self,
        run_id: UUID,
        tenant_id: UUID,
        workflow_id: UUID,
        version: int,
        plan: Plan,
        asked: StartRequest,
        room: int,
    ) -> NewRun:
        value = fitting_input(plan.workflow, asked.input, self._input_bytes)
        new = NewRun(
            id=run_id, tenant_id=tenant_id, workflow_id=workflow_id, version=version,
            trigger=asked.trigger, input=value, tags=tuple(asked.tags), room=room,
        )  # fmt: skip
        note_run(new)
        return new


def fitting_input(workflow: Workflow, given: Any, most_bytes: int) -> Any:
    """Return a run's input with its defaults filled in; InvalidDefinition, TooLarge."""
    value, problems = check_input(workflow, given)
    if problems:
        raise InvalidDefinition(problems, "The input does not fit the workflow's `inputs`.")
    if len(json.dumps(value)) > most_bytes:
        raise TooLarge(f"the input is larger than {most_bytes} bytes")
    return value


def _earlier(unit: UnitOfWork, tenant_id: UUID, asked: StartRequest, run_id: UUID) -> UUID | None:
    """Return the run that an earlier request with the same key has started."""
    return None if asked.key is None else unit.keys.take(tenant_id, *asked.key, run_id)


def _as_stored(new: NewRun, plan: Plan, moved: Moved) -> Run:
    """Return the run as the record has it before anybody has touched it."""
    counts = {
        TaskState.QUEUED: len(moved.queued),
        TaskState.READY: len(plan.roots) - len(moved.queued),
        TaskState.PENDING: len(plan.nodes) - len(plan.roots),
    }
    return Run(
        id=new.id,
        tenant_id=new.tenant_id,
        workflow_id=new.workflow_id,
        workflow_name=plan.workflow.name,
        version=new.version,
        state=RunState.QUEUED,
        trigger=new.trigger,
        tags=new.tags,
        input=new.input,
        origin_run_id=new.origin_run_id,
        created_at=moved.events[0].at,
        counts={str(state): n for state, n in counts.items() if n},
        seq=moved.events[-1].seq,
    )
