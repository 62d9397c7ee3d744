"""Steering runs: cancel, pause, resume, mark a task. Running one again is in `rerunning`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from orchestrator.errors import IllegalMove, NotFound, TooLarge
from orchestrator.models.runs.run import MARKABLE_RUNS, Run, RunState
from orchestrator.models.runs.task import MARKABLE, Task, TaskState
from orchestrator.models.text import storable
from orchestrator.ports.acting import acting
from orchestrator.ports.moves import Mark
from orchestrator.ports.store import Store
from orchestrator.services.runs.engine import WorkflowEngine


class Steering:
    """What people do to runs once they have started. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        engine: WorkflowEngine,
        *,
        output_bytes: int = 262_144,
    ) -> None:
        self._store = store
        self._engine = engine
        self._output_bytes = output_bytes

    def cancel(self, tenant_id: UUID, run_id: UUID, to: RunState = RunState.CANCELLED) -> Run:
        """Stop a run: nothing starts any more, running handlers are told to stop.

        A run that is being cancelled already answers the same; an ended one is an IllegalMove.
        """
        run = self._engine.run(tenant_id, run_id)
        moved = self._store.moves.cancel_run(run_id, to)
        if moved is None:
            raise NotFound(f"there is no run {run_id}")
        if moved.was is not None and RunState(moved.was).ended:
            raise IllegalMove(f"the run has {moved.was}; a run that has ended never moves again")
        self._engine.announce(moved)
        return self._engine.run(run.tenant_id, run_id)

    def pause(self, tenant_id: UUID, run_id: UUID) -> Run:
        """Let nothing new start; running attempts go on. IllegalMove unless it is running."""
        return self._steer(tenant_id, run_id, RunState.RUNNING, RunState.PAUSED)

    def resume(self, tenant_id: UUID, run_id: UUID) -> Run:
        """Go on with a paused run. IllegalMove unless it is paused."""
        run = self._steer(tenant_id, run_id, RunState.PAUSED, RunState.RUNNING)
        for queue in self._engine.plan(run.workflow_id, run.version).queues:
            self._engine.refill(queue)
        return run

    def _steer(self, tenant_id: UUID, run_id: UUID, was: RunState, to: RunState) -> Run:
        self._engine.run(tenant_id, run_id)
        moved = self._store.moves.steer_run(run_id, was, to)
        if moved is None:
            raise NotFound(f"there is no run {run_id}")
        found = RunState(moved.was or was)
        if found is not was and found is not to:
            raise IllegalMove(f"the run is {found}; only a run that is {was} can become {to}")
        self._engine.announce(moved)
        return self._engine.run(tenant_id, run_id)

    def mark(
        self,
        tenant_id: UUID,
        run_id: UUID,
        node_id: str,
        state: TaskState,
        *,
        map_index: int | None = None,
        output: Any = None,
        reason: str | None = None,
    ) -> Task:
        """Settle a task by hand: `state` is one of MARKS, and what depends on it follows.

        An attempt under way is taken from its worker, whose outcome then changes nothing. NotFound;
        IllegalMove unless the run is running or paused and the task is in MARKABLE; TooLarge for
        an output that a handler could not keep in the record either.
        """
        size = len(orjson.dumps(output))
        if size > self._output_bytes:
            raise TooLarge(
                f"the output is {size} bytes of JSON and {self._output_bytes} are allowed;"
                " keep it elsewhere and give its address"
            )
        run = self._engine.run(tenant_id, run_id)
        task = self.task(run_id, node_id, map_index)
        who = acting()
        mark = Mark(
            task_no=task.task_no,
            node_id=node_id,
            map_index=map_index,
            state=str(state),
            by=storable(who.principal.name) if who else "system",
            output=output,
            reason=reason,
        )
        room = self._engine.room(self._engine.plan(run.workflow_id, run.version).queues)
        room, _ = self._engine.quotas.within(run_id, room, None)
        moved = self._store.moves.mark_task(run_id, mark, room)
        if moved is None or not moved.events:
            run = self._engine.run(tenant_id, run_id)
            raise IllegalMove(_why_not(run, moved.was if moved else None))
        self._engine.announce(moved)
        return self.task(run_id, node_id, map_index)

    def task(self, run_id: UUID, node_id: str, map_index: int | None = None) -> Task:
        """Return the task of a node of a run; NotFound."""
        for task in self._store.reads.tasks(run_id, node_id=node_id):
            if task.map_index == map_index:
                return task
        where = node_id if map_index is None else f"{node_id}[{map_index}]"
        raise NotFound(f"run {run_id} has no task {where[:100]!r}")


def _why_not(run: Run, was: str | None) -> str:
    """Return why a task could not be marked."""
    if run.state.ended:
        return f"the run has {run.state}; a run that has ended never moves again"
    if run.state not in MARKABLE_RUNS:
        return f"the run is {run.state}; a task is marked in a run that is running or paused"
    if was == TaskState.PENDING:
        return "the task is pending: its upstream tasks have not ended; mark those first"
    if was in MARKABLE:
        return "the run has moved meanwhile; look at it and try again"
    return f"the task is {was}; a task that has ended never moves again"
