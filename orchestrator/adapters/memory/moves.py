"""The moves in memory: the same rules as `migrations/functions`, one lock in place of row locks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from orchestrator.adapters.memory import mark as marking
from orchestrator.adapters.memory.ending import end_run
from orchestrator.adapters.memory.settle import Settlement
from orchestrator.adapters.memory.tables import STARTABLE, RunRow, Tables, TaskRow, pack, unpack
from orchestrator.models.runs.event import Event, Kind
from orchestrator.models.runs.run import RunState
from orchestrator.models.runs.task import PARKED, TaskState
from orchestrator.ports.moves import Ending, LogLine, Mark, Moved, NewRun, Owner, Take

_HOLDS_NO_ATTEMPT = frozenset(
    {
        TaskState.PENDING,
        TaskState.READY,
        TaskState.QUEUED,
        TaskState.WAITING,
        TaskState.RETRYING,
    }
)


class MemoryMoves:
    """Answers `ports.moves.Moves`."""

    def __init__(self, tables: Tables, start: Callable[[NewRun], Moved | None]) -> None:
        self._tables = tables
        self._start = start

    def store_run_of_newest(self, new: NewRun) -> Moved | None:
        """See the port."""
        return self._start(new)

    def claim_attempts(
        self, run_id: UUID, wanted: Sequence[tuple[int, int]], *, claim_id: UUID, owner: Owner
    ) -> Moved | None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            if run is None:
                return None
            tasks = _claimable(run, wanted) if run.state in STARTABLE else []
            asked = {no for no, _ in wanted}
            held = [t for t in run.held(claim_id) if t.task_no in asked]
            if not tasks and not held:
                return None
            now = self._tables.clock.now()
            events: list[Event] = []
            if run.state is RunState.QUEUED and tasks:
                run.state, run.started_at = RunState.RUNNING, now
                events.append(run.say(Kind.RUN, now, state=str(run.state)))
            for task in tasks:
                task.hold(claim_id, owner, now)
                events.append(run.say_task(task, now))
            return moved(
                run,
                events=tuple(events),
                claimed=tuple(t.claim(run_id, claim_id) for t in held + tasks),
                input=unpack(run.input),
            )

    def settle_attempts(
        self,
        run_id: UUID,
        claim_id: UUID,
        endings: Sequence[Ending],
        *,
        logs: Sequence[LogLine] = (),
        take: Take | None = None,
        room: int = 0,
    ) -> Moved | None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            if run is None:
                return None
            settlement = Settlement(run, claim_id, self._tables.clock.now(), take, room)
            settlement.carry_out(endings, logs)
            if settlement.timer:
                self._tables.woken.set()
            said = sum(len(line.message) for line in logs)
            outputs = sum(len(pack(e.output) or b"") for e in endings)
            return _settled(run, settlement, stored_bytes=said + outputs)

    def queue_tasks(self, run_id: UUID, task_nos: Sequence[int]) -> Moved | None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            if run is None or run.state not in STARTABLE:
                return None
            now = self._tables.clock.now()
            tasks = [run.tasks[no] for no in set(task_nos) if no in run.tasks]
            tasks = sorted((t for t in tasks if _may_queue(t, now)), key=_urgency)
            if not tasks:
                return None
            for task in tasks:
                if task.state is not TaskState.WAITING:
                    task.attempt += 1
                    task.started_at = task.resumed = None
                task.worker_id = task.pid = task.reason = None
                task.enqueue(now)
            return moved(
                run,
                events=tuple([run.say_task(task, now) for task in tasks]),
                queued=tuple(task.release(run_id) for task in tasks),
            )

    def cancel_run(self, run_id: UUID, to: RunState) -> Moved | None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            if run is None:
                return None
            was = str(run.state)
            if run.state.ended or run.state is RunState.CANCELLING:
                return moved(run, was=was)
            now = self._tables.clock.now()
            run.state, run.cancel_to = RunState.CANCELLING, to
            events = [run.say(Kind.RUN, now, state=str(run.state))]
            gone = [t for _, t in sorted(run.tasks.items()) if t.state in _HOLDS_NO_ATTEMPT]
            for task in gone:
                task.state, task.finished_at, task.due_at = TaskState.CANCELLED, now, None
                events.append(run.say_task(task, now))
            run.open -= len(gone)
            last = end_run(run, now, None, None)
            events += [last] if last else []
            return moved(run, events=tuple(events), settled=tuple(t.task_no for t in gone), was=was)

    def steer_run(self, run_id: UUID, was: RunState, to: RunState) -> Moved | None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            if run is None:
                return None
            found = run.state
            if found is not was:
                return moved(run, was=str(found))
            now = self._tables.clock.now()
            run.state = to
            event = run.say(Kind.RUN, now, state=str(to))
            waiting: list[TaskRow] = []
            if to is RunState.RUNNING:
                waiting = [t for t in run.tasks.values() if t.state is TaskState.QUEUED]
                self._tables.woken.set()
            return moved(
                run,
                was=str(found),
                events=(event,),
                queued=tuple(t.release(run_id) for t in sorted(waiting, key=_urgency)),
            )

    def mark_task(self, run_id: UUID, mark: Mark, room: int) -> Moved | None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            task = run.tasks.get(mark.task_no) if run else None
            if run is None or task is None:
                return None
            was = str(task.state)
            if not marking.may_mark(run, task):
                return moved(run, was=was)
            done = marking.carry_out(run, task, mark, self._tables.clock.now(), room)
            return _settled(run, done, was=was)

    def take_output(self, run_id: UUID, lease_s: float) -> int | None:
        """See the port."""
        with self._tables.lock:
            run, now = self._tables.runs.get(run_id), self._tables.clock.now()
            if run is None or run.open > 0 or run.finished_at is not None:
                return None
            if run.output_until is not None and run.output_until > now:
                return None
            if run.failed or run.state is RunState.CANCELLING:
                return 0
            run.output_tries += 1
            run.output_until = now + timedelta(seconds=lease_s)
            return run.output_tries

    def leave_output(self, run_id: UUID, again_s: float) -> None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            if run is not None and run.output_tries:
                run.output_tries -= 1
                run.output_until = self._tables.clock.now() + timedelta(seconds=again_s)

    def end_run(self, run_id: UUID, output: Any, error: Mapping[str, Any] | None) -> Moved | None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            last = end_run(run, self._tables.clock.now(), output, error) if run else None
            return moved(run, events=(last,)) if run and last else None


def moved(run: RunRow, **what: Any) -> Moved:
    """Return what a transition of this run did."""
    return Moved(
        run_id=run.id,
        tenant_id=run.tenant_id,
        workflow_id=run.workflow_id,
        version=run.version,
        **what,
    )


def _settled(run: RunRow, settlement: Settlement, **more: Any) -> Moved:
    return moved(
        run,
        events=tuple(settlement.events),
        accepted=tuple(settlement.accepted),
        settled=tuple(settlement.settled),
        claimed=tuple(settlement.claimed),
        queued=tuple(settlement.queued),
        ready=settlement.ready,
        open=run.open if settlement.events else None,
        **more,
    )


def _urgency(task: TaskRow) -> tuple[int, int]:
    return -task.priority, task.task_no


def _claimable(run: RunRow, wanted: Sequence[tuple[int, int]]) -> list[TaskRow]:
    found = {no: run.tasks[no] for no, attempt in wanted if _current(run, no, attempt)}
    return [task for _, task in sorted(found.items())]


def _current(run: RunRow, no: int, attempt: int) -> bool:
    task = run.tasks.get(no)
    return task is not None and task.attempt == attempt and task.state is TaskState.QUEUED


def _may_queue(task: TaskRow, now: datetime) -> bool:
    if task.state is TaskState.READY:
        return True
    timed = task.state in PARKED
    return timed and task.due_at is not None and task.due_at <= now
