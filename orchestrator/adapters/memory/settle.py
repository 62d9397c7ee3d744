"""One settle in memory: attempts end, dependants follow in waves, the run may end.

The same rules as `migrations/functions/settle_v2.sql`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orchestrator.adapters.memory.ending import end_run
from orchestrator.adapters.memory.tables import (
    STARTABLE,
    AttemptRow,
    RunRow,
    TaskRow,
    later,
    pack,
    unpack,
)
from orchestrator.models.runs.event import Event, Kind
from orchestrator.models.runs.rules import end_data, end_reason, meaning, rule_met, skip_reason
from orchestrator.models.runs.run import RunState
from orchestrator.models.runs.task import FAILS, PARKED, Claim, TaskState, check_move
from orchestrator.ports.moves import Ending, LogLine, Release, Take

_PARKING = PARKED | {"lost"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """An ending that will be carried out: everything that can be refused has been decided."""

    task: TaskRow
    ending: Ending
    to: TaskState
    output: bytes | None
    error: bytes | None


class Settlement:
    """What one call does to one run; the caller holds the lock and reads the lists afterwards."""

    def __init__(
        self, run: RunRow, claim_id: UUID, now: datetime, take: Take | None, room: int
    ) -> None:
        starts = run.state in STARTABLE
        self._run = run
        self._claim_id = claim_id
        self._now = now
        self._take = take
        self._take_left = take.limit if take and starts else 0
        self._room_left = room if starts else 0
        self.events: list[Event] = []
        self.accepted: list[int] = []
        self.settled: list[int] = []
        self.claimed: list[Claim] = []
        self.queued: list[Release] = []
        self.ready = 0
        #: A task was parked: upkeep may be asleep until a later timer than this one.
        self.timer = False

    def carry_out(self, endings: Sequence[Ending], logs: Sequence[LogLine]) -> None:
        """Record the lines, end the attempts this claim still holds, and let dependants follow."""
        run = self._run
        planned = [self._plan(task, e) for e in endings if (task := self._held(e))]
        for line in logs:
            self._log(line)
        for plan in planned:
            self._end(plan)
        count = self.spread([plan.task for plan in planned if plan.to not in PARKED])
        self._claim_next()
        if self._take is not None and len(self.accepted) < len(endings):
            # Perhaps a repeat, after a commit whose answer was lost.
            self.claimed = [t.claim(run.id, self._claim_id) for t in run.held(self._claim_id)]
        if count and (run.leaves is not None or run.state is RunState.CANCELLING):
            last = end_run(run, self._now, None, None)
            self.events += [last] if last else []

    def spread(self, ended: Sequence[TaskRow]) -> int:
        """Let the dependants of ended tasks follow; return how many tasks ended in all."""
        count = len(ended)
        wave = list(ended)
        while wave:
            wave = self._wave(wave)
            count += len(wave)
        self._run.open -= count
        return count

    def _claim_next(self) -> None:
        if self._take is None or self._run.state not in STARTABLE:
            return
        for no, attempt in sorted(set(self._take.next)):
            task = self._run.tasks.get(no)
            if task and task.attempt == attempt and task.state is TaskState.QUEUED:
                task.hold(self._claim_id, self._take.owner, self._now)
                self.events.append(self._run.say_task(task, self._now))
                self.claimed.append(task.claim(self._run.id, self._claim_id))

    def _held(self, ending: Ending) -> TaskRow | None:
        task = self._run.tasks.get(ending.task_no)
        if task is None or task.state is not TaskState.RUNNING:
            return None
        mine = task.attempt == ending.attempt and task.claim_id == self._claim_id
        return task if mine else None

    def _plan(self, task: TaskRow, ending: Ending) -> _Planned:
        if ending.state in _PARKING and self._run.state is RunState.CANCELLING:
            to = TaskState.CANCELLED
        elif ending.state == "lost":
            to = TaskState.RETRYING if task.losses < task.max_losses else TaskState.FAILED
        else:
            to = TaskState(ending.state)
        check_move(task.state, to)
        return _Planned(
            task=task, ending=ending, to=to, output=pack(ending.output), error=pack(ending.error)
        )

    def _log(self, line: LogLine) -> None:
        task = self._run.tasks.get(line.task_no)
        if task and task.state is TaskState.RUNNING and task.claim_id == self._claim_id:
            self.events.append(
                self._run.say(
                    Kind.LOG,
                    later(self._now, -line.age_s),
                    node_id=task.node_id,
                    map_index=task.map_index,
                    attempt=task.attempt,
                    level=line.level,
                    message=line.message,
                )
            )

    def _end(self, plan: _Planned) -> None:
        task, ending, to = plan.task, plan.ending, plan.to
        lost, parked = ending.state == "lost", to in PARKED
        if to is TaskState.RETRYING or (lost and to is TaskState.FAILED):
            self._keep_attempt(plan)
        took = (self._now - (task.started_at or self._now)).total_seconds()
        task.state = to
        task.output = plan.output if to is TaskState.SUCCEEDED else None
        task.resumed = (plan.output or b"{}") if to is TaskState.WAITING else None
        task.error = plan.error
        task.reason = end_reason(ending.state, to, ending.error)
        task.losses += lost
        task.claim_id = None if parked else task.claim_id
        task.deadline_at = None
        task.due_at = later(self._now, ending.delay_s or 0) if parked else None
        task.finished_at = None if parked else self._now
        data = end_data(
            ending.state, to, unpack(plan.error), ending.delay_s, int(took * 1000 + 0.5)
        )
        self.events.append(self._run.say_task(task, self._now, data))
        self.accepted.append(task.task_no)
        if not parked:
            self.settled.append(task.task_no)
        self._run.failed += to in FAILS
        self.timer = self.timer or parked

    def _keep_attempt(self, plan: _Planned) -> None:
        timeout = (plan.ending.error or {}).get("code") == "timeout"
        lost = plan.ending.state == "lost"
        self._run.attempts.append(
            AttemptRow(
                task_no=plan.task.task_no,
                attempt=plan.task.attempt,
                state="lost" if lost else "timed_out" if timeout else "failed",
                worker_id=plan.task.worker_id,
                queued_at=plan.task.queued_at,
                started_at=plan.task.started_at,
                finished_at=self._now,
                error=plan.error,
            )
        )

    def _wave(self, ended: Iterable[TaskRow]) -> list[TaskRow]:
        """Tell the dependants of ended tasks; return those that were skipped by it."""
        decided = self._count(ended)
        going = sorted(
            (t for t in decided if _may_start(t)), key=lambda t: (-t.priority, t.task_no)
        )
        skipped = [t for t in decided if not _may_start(t)]
        taken = self._take_some(going)
        put = [t for t in going if t.state is TaskState.PENDING][: self._room_left]
        self._room_left -= len(put)
        for task in put:
            task.attempt += 1
            task.enqueue(self._now)
            self.queued.append(task.release(self._run.id))
        for task in going:
            if task.state is TaskState.PENDING:
                task.state = TaskState.READY
                self.ready += 1
        for task in skipped:
            task.state, task.finished_at = TaskState.SKIPPED, self._now
            task.reason = skip_reason(task.up_failed, task.up_skipped)
            self.settled.append(task.task_no)
        for task in sorted(taken + put + skipped, key=lambda t: t.task_no):
            data = {"reason": task.reason} if task.reason is not None else None
            self.events.append(self._run.say_task(task, self._now, data))
        return skipped

    def _count(self, ended: Iterable[TaskRow]) -> list[TaskRow]:
        """Count ended tasks into their pending dependants; return those that wait for none now."""
        told: dict[int, list[str]] = defaultdict(list)
        for task in ended:
            for no, handles in task.edges():
                output = None if handles is None else unpack(task.output)
                told[no].append(meaning(task.state, task.reason, handles, output))
        decided = []
        for no in sorted(told):
            task = self._run.tasks[no]
            if task.state is not TaskState.PENDING:
                continue
            task.waits_for -= len(told[no])
            task.up_failed += told[no].count("failed")
            task.up_skipped += told[no].count("skipped")
            if task.waits_for == 0:
                decided.append(task)
        return decided

    def _take_some(self, going: Sequence[TaskRow]) -> list[TaskRow]:
        """Claim as many as the worker goes on with in place."""
        if self._take is None:
            return []
        mine = [t for t in going if t.queue in self._take.queues]
        taken = mine[: max(0, self._take_left)]
        self._take_left -= len(taken)
        for task in taken:
            task.attempt += 1
            task.queued_at = self._now
            task.hold(self._claim_id, self._take.owner, self._now)
            self.claimed.append(task.claim(self._run.id, self._claim_id))
        return taken


def _may_start(task: TaskRow) -> bool:
    return rule_met(task.trigger_rule, task.upstreams, task.up_failed, task.up_skipped)
