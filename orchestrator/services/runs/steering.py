"""Steering runs: cancel, pause, resume, mark a task, and run an ended run again as a new one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson

from orchestrator.errors import IllegalMove, NotFound, ServiceUnavailable, TooLarge, ZQError
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.ids import uuid7
from orchestrator.models.runs.rules import meaning
from orchestrator.models.runs.run import MARKABLE_RUNS, Run, RunState, Trigger
from orchestrator.models.runs.task import MARKABLE, Task, TaskState
from orchestrator.models.text import storable
from orchestrator.ports.acting import acting
from orchestrator.ports.moves import Mark, Moved, NewRun
from orchestrator.ports.runtime import Artifacts, Clock
from orchestrator.ports.store import Store
from orchestrator.services.auditing import note_run
from orchestrator.services.runs.engine import WorkflowEngine


class Steering:
    """What people do to runs once they have started. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        engine: WorkflowEngine,
        clock: Clock,
        artifacts: Artifacts,
        *,
        output_bytes: int = 262_144,
    ) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self._artifacts = artifacts
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

    def rerun(
        self,
        tenant_id: UUID,
        run_id: UUID,
        *,
        from_node: str | None = None,
        key: tuple[str, str] | None = None,
    ) -> tuple[UUID, bool]:
        """Start a new run of an ended one's version; return (run id, is it new).

        What did not succeed runs again, and with `from_node` that node too, each with all that
        depends on it; the rest is taken over with its outputs. NotFound for an unknown node;
        IllegalMove while the run has not ended, or where an output in a file is gone.
        """
        origin = self._engine.run(tenant_id, run_id)
        if not origin.state.ended:
            raise IllegalMove("only a run that has ended can be run again; cancel it first")
        plan = self._engine.plan(origin.workflow_id, origin.version)
        again = self._again(run_id, plan, from_node)
        new = NewRun(
            id=uuid7(self._clock.now()),
            tenant_id=tenant_id,
            workflow_id=origin.workflow_id,
            version=origin.version,
            trigger=Trigger.RETRY,
            input=None,
            tags=origin.tags,
            origin_run_id=run_id,
            room=self._engine.room(plan.queues),
        )
        large = self._store.reads.large_outputs(run_id)
        try:
            self._copy(new, plan, {no: large[no] for no in large.keys() - again})
            earlier, moved = self._stored(new, again, key)
        except ServiceUnavailable:
            # It may have been stored all the same; without a run, retention takes the files.
            raise
        except ZQError:
            self._artifacts.discard(new.id)
            raise
        if moved is None:
            self._artifacts.discard(new.id)
            return earlier, False
        self._engine.announce(moved)
        if not self._engine.quotas.concurrent(tenant_id):
            self._engine.queue(new.id, [no for no in plan.roots if no in again])
        return new.id, True

    def _copy(self, new: NewRun, plan: Plan, names: Mapping[int, str]) -> None:
        """Give the new run the files of the outputs it takes over.

        Files first, the record after: what the record names is there, whatever breaks in between.
        """
        origin_id = new.origin_run_id or new.id
        for no, name in names.items():
            try:
                self._artifacts.copy(origin_id, name, new.id)
            except NotFound:
                node_id = plan.node_of(no).node.id
                raise IllegalMove(
                    f"the output of {node_id} was large and is not kept any more;"
                    f" run the workflow again, or this run from {node_id}"
                ) from None

    def _stored(
        self, new: NewRun, again: Collection[int], key: tuple[str, str] | None
    ) -> tuple[UUID, Moved | None]:
        """Store a rerun; return the run's id, and the move unless the key was used before."""
        with self._store.begin() as unit:
            if key is not None:
                earlier = unit.keys.take(new.tenant_id, key[0], key[1], new.id)
                if earlier is not None:
                    return earlier, None
            room = self._engine.quotas.admit_run(unit.quotas, new.tenant_id, new.room)
            new = replace(new, room=room)
            moved = unit.store_rerun(new, sorted(again))
            note_run(new)
        return new.id, moved

    def _again(self, run_id: UUID, plan: Plan, from_node: str | None) -> set[int]:
        tasks = self._store.reads.tasks(run_id, limit=len(plan.nodes))
        seeds = {t.task_no for t in tasks if not _taken_over(t)}
        if from_node is not None:
            if from_node not in plan.numbers:
                raise NotFound(f"the run has no node {from_node!r}")
            seeds.add(plan.numbers[from_node])
        again, left = set(seeds), list(seeds)
        while left:
            for no in plan.node_of(left.pop()).dependants:
                if no not in again:
                    again.add(no)
                    left.append(no)
        return again


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


def _taken_over(task: Task) -> bool:
    """True for an end that a new run may keep: a success, or a way that a branch did not take."""
    return task.state.ended and meaning(task.state, task.reason) != "failed"
