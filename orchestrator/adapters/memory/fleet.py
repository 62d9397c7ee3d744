"""Workers, leases, timers and backlogs in memory, judged by the injected clock (`fleet.sql`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from orchestrator.adapters.memory.tables import (
    STARTABLE,
    RunRow,
    Tables,
    TaskRow,
    WorkerRow,
    later,
)
from orchestrator.models.quota import EVERYBODY, TenantFilter
from orchestrator.models.runs.run import RunState
from orchestrator.models.runs.task import PARKED, Claim, TaskState
from orchestrator.ports.fleet import Beat, Held, Pulse
from orchestrator.ports.moves import Owner, Release

#: A supervisor stops an attempt at its deadline; this much later it is plainly not doing so.
_FAR_PAST_S = 60.0
#: How long a worker is told of an attempt that was taken from it.
_TOLD_S = 3600.0


class MemoryFleet:
    """Answers `ports.fleet.Fleet`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def _now(self) -> datetime:
        return self._tables.clock.now()

    def _running(self, worker_id: UUID) -> list[tuple[RunRow, TaskRow]]:
        running = self._tables.live_tasks(TaskState.RUNNING)
        return [(run, task) for run, task in running if task.worker_id == worker_id]

    def beat(self, beat: Beat) -> Pulse:
        """See the port."""
        with self._tables.lock:
            now, worker = self._now(), self._tables.workers.get(beat.id)
            if worker is None:
                self._tables.workers[beat.id] = _new_worker(beat, now)
                return Pulse(alive=True, held=self._held(beat.id))
            if worker.state != "active":
                return Pulse(alive=False)
            worker.beat_at, worker.slots = now, beat.slots
            worker.children, worker.queues = tuple(beat.children), tuple(beat.queues)
            has_room = len(self._running(beat.id)) < beat.slots
            worker.free_since = (worker.free_since or now) if has_room else None
            return Pulse(alive=True, held=self._held(beat.id))

    def _held(self, worker_id: UUID) -> tuple[Held, ...]:
        now = self._now()
        running = [
            _hold(run, task, verdict=_verdict(run, task, now), overdue_s=_overdue_s(task, now))
            for run, task in self._running(worker_id)
        ]
        return (*running, *self._taken(worker_id, later(now, -_TOLD_S)))

    def _taken(self, worker_id: UUID, since: datetime) -> Iterator[Held]:
        for run in self._tables.runs.values():
            for task in run.tasks.values():
                mine = task.taken_from is not None and task.worker_id == worker_id
                if mine and task.finished_at is not None and task.finished_at > since:
                    yield _hold(run, task, verdict="taken", claim_id=task.taken_from)

    def refuse(self, beat: Beat, reason: str) -> None:
        """See the port."""
        with self._tables.lock:
            workers, now = self._tables.workers, self._now()
            for old in [w for w in workers.values() if w.state == "refused"]:
                if (old.host, old.name) == (beat.host, beat.name):
                    del workers[old.id]
            workers[beat.id] = WorkerRow(
                id=beat.id, name=beat.name, host=beat.host, pid=beat.pid, version=beat.version,
                queues=beat.queues, slots=0, children=(), state="refused", free_since=None,
                started_at=now, beat_at=now, refusal=reason,
            )  # fmt: skip

    def leave(self, worker_id: UUID) -> None:
        """See the port."""
        with self._tables.lock:
            worker = self._tables.workers.get(worker_id)
            if worker and worker.state == "active":
                worker.state, worker.beat_at = "stopped", self._now()

    def workers(self) -> list[Mapping[str, Any]]:
        """See the port."""
        with self._tables.lock:
            now = self._now()
            recent = [w for w in self._tables.workers.values() if w.beat_at > later(now, -3600.0)]
            recent.sort(key=lambda w: w.started_at)
            return [
                {
                    "id": w.id,
                    "name": w.name,
                    "host": w.host,
                    "pid": w.pid,
                    "version": w.version,
                    "queues": list(w.queues),
                    "slots": w.slots,
                    "children": list(w.children),
                    "state": w.state,
                    "refusal": w.refusal,
                    "started_at": w.started_at,
                    "age_s": (now - w.beat_at).total_seconds(),
                    "busy": len(self._running(w.id)),
                }
                for w in recent
            ]

    def expire(self, lease_s: float) -> int:
        """See the port."""
        with self._tables.lock:
            gone = self._expired(lease_s)
            for worker in gone:
                worker.state = "lost"
            return len(gone)

    def ownerless(self, limit: int, lease_s: float = 10.0) -> list[Held]:
        """See the port."""
        with self._tables.lock:
            now = self._now()
            found = []
            for run, task in self._tables.live_tasks(TaskState.RUNNING):
                worker = self._tables.workers.get(task.worker_id) if task.worker_id else None
                if _is_ownerless(task, worker, now, lease_s):
                    active = worker is not None and worker.state == "active"
                    overdue_s = _overdue_s(task, now)
                    verdict = "timeout" if active and overdue_s > _FAR_PAST_S else "lost"
                    verdict = _stopped(run) or verdict
                    found.append(_hold(run, task, verdict=verdict, overdue_s=overdue_s))
            return found[:limit]

    def of_child(self, worker_id: UUID, pid: int) -> list[Held]:
        """See the port."""
        with self._tables.lock:
            found = [(run, task) for run, task in self._running(worker_id) if task.pid == pid]
            return [_hold(run, task, verdict=_stopped(run) or "lost") for run, task in found]

    def due(self, limit: int, of: TenantFilter = EVERYBODY) -> dict[UUID, list[int]]:
        """See the port."""
        with self._tables.lock:
            now = self._now()
            found = [
                (task.due_at, run.id, task.task_no)
                for run, task in self._tables.live_tasks(*PARKED)
                if task.due_at and task.due_at <= now and run.state in STARTABLE
                if of.has(run.tenant_id)
            ]
            return _by_run((run_id, no) for _, run_id, no in sorted(found)[:limit])

    def backlog(
        self, queue: str, limit: int, of: TenantFilter = EVERYBODY
    ) -> dict[UUID, list[int]]:
        """See the port."""
        with self._tables.lock:
            found = [
                (-task.priority, run.id, task.task_no)
                for run, task in self._tables.live_tasks(TaskState.READY)
                if task.queue == queue and run.state in STARTABLE and of.has(run.tenant_id)
            ]
            return _by_run((run_id, no) for _, run_id, no in sorted(found)[:limit])

    def ready_queues(self) -> list[str]:
        """See the port."""
        with self._tables.lock:
            return sorted({t.queue for _, t in self._tables.live_tasks(TaskState.READY)})

    def waiting_queues(self) -> list[str]:
        """See the port."""
        with self._tables.lock:
            return sorted({t.queue for _, t in self._tables.live_tasks(TaskState.QUEUED)})

    def unclaimed(self, queues: Sequence[str], older_s: float, limit: int) -> list[Release]:
        """See the port."""
        with self._tables.lock:
            since = later(self._now(), -older_s)
            return self._again(
                queues, older_s, limit, lambda task, _: self._has_room(task.queue, since)
            )

    def passed_over(self, queues: Sequence[str], older_s: float, limit: int) -> list[Release]:
        """See the port."""
        with self._tables.lock:
            claimed = self._newest_claimed()
            return self._again(
                queues, older_s, limit, lambda task, at: at < claimed.get(task.queue, at)
            )

    def _again(
        self,
        queues: Sequence[str],
        older_s: float,
        limit: int,
        lost: Callable[[TaskRow, datetime], bool],
    ) -> list[Release]:
        now = self._now()
        found = [
            (-task.priority, at, run, task)
            for run, task in self._tables.live_tasks(TaskState.QUEUED)
            if task.queue in queues
            and run.state in STARTABLE
            and (at := task.published_at) is not None
            and at < later(now, -_pause_s(task, older_s))
            and lost(task, at)
        ]
        found.sort(key=lambda f: f[:2])
        for _, _, _, task in found[:limit]:
            task.published_at, task.publishes = now, min(task.publishes + 1, 100)
        return [task.release(run.id) for _, _, run, task in found[:limit]]

    def _newest_claimed(self) -> dict[str, datetime]:
        """Return when the newest attempt was announced that came out of each queue.

        Of the runs that something runs of; what was announced again proves nothing.
        """
        newest: dict[str, datetime] = {}
        running = {(run.id, task.queue) for run, task in self._tables.live_tasks(TaskState.RUNNING)}
        for run_id, queue in running:
            for task in self._tables.runs[run_id].tasks.values():
                at = task.published_at
                first = task.publishes == 0 and task.claim_id is not None
                if at is not None and first and task.queue == queue:
                    newest[queue] = max(at, newest.get(queue, at))
        return newest

    def _has_room(self, queue: str, since: datetime) -> bool:
        return any(
            w.state == "active" and queue in w.queues and w.free_since and w.free_since < since
            for w in self._tables.workers.values()
        )

    def overdue_runs(self, limit: int) -> list[UUID]:
        """See the port."""
        with self._tables.lock:
            now = self._now()
            return [
                run.id
                for run in self._tables.live_runs()
                if run.state is not RunState.CANCELLING
                and run.deadline_at
                and run.deadline_at < now
            ][:limit]

    def settled_runs(self, limit: int, but: Sequence[UUID] = ()) -> list[tuple[UUID, UUID, int]]:
        """See the port."""
        with self._tables.lock:
            found = [r for r in self._tables.live_runs() if r.open == 0 and r.id not in but]
            return [(run.id, run.workflow_id, run.version) for run in found[:limit]]

    def oldest_needed(self) -> UUID | None:
        """See the port."""
        with self._tables.lock:
            needed: set[UUID] = set()
            wanted = [run.id for run in self._tables.live_runs()]
            while wanted:
                run = self._tables.runs.get(run_id := wanted.pop())
                if run is not None:
                    needed.add(run_id)
                    wanted += [run.origin_run_id] if run.origin_run_id else []
            return min(needed, default=None)

    def _expired(self, lease_s: float) -> list[WorkerRow]:
        end = later(self._now(), -lease_s)
        return [
            w
            for w in self._tables.workers.values()
            if w.state == "active" and max(w.beat_at, self._tables.since) < end
        ]

    def next_due_s(self, lease_s: float | None = None) -> float | None:
        """See the port."""
        with self._tables.lock:
            if lease_s is not None and self._expired(lease_s):
                return 0.0
            live = self._tables.live_runs()
            if not live:
                return None
            busy = (TaskState.READY, TaskState.QUEUED, TaskState.RUNNING)
            if any(True for _ in self._tables.live_tasks(*busy)):
                return 0.0
            timed = self._tables.live_tasks(*PARKED)
            times = [task.due_at for run, task in timed if run.state in STARTABLE]
            times += [run.deadline_at for run in live if run.state is not RunState.CANCELLING]
            now = self._now()
            left = [max(0.0, (at - now).total_seconds()) for at in times if at is not None]
            return min(left, default=0.0)

    def tidy(self, now: datetime, keys_older_s: float) -> None:
        """See the port. There are no partitions here."""
        with self._tables.lock:
            at, tables = self._now(), self._tables
            for key in [
                k for k, row in tables.keys.items() if row.created_at < later(at, -keys_older_s)
            ]:
                del tables.keys[key]
            long_ago = at - timedelta(days=1)
            for worker in list(tables.workers.values()):
                idle = worker.state != "active" and not self._running(worker.id)
                if idle and worker.beat_at < long_ago:
                    del tables.workers[worker.id]


def _new_worker(beat: Beat, now: datetime) -> WorkerRow:
    return WorkerRow(**asdict(beat), state="active", free_since=now, started_at=now, beat_at=now)


def _overdue_s(task: TaskRow, now: datetime) -> float:
    if task.deadline_at is None:
        return 0.0
    return max(0.0, (now - task.deadline_at).total_seconds())


def _stopped(run: RunRow) -> str | None:
    return "cancelled" if run.state is RunState.CANCELLING else None


def _verdict(run: RunRow, task: TaskRow, now: datetime) -> str | None:
    if stopped := _stopped(run):
        return stopped
    return "timeout" if _overdue_s(task, now) > 0 else None


def _pause_s(task: TaskRow, older_s: float) -> float:
    return min(60.0, older_s * 2.0 ** min(task.publishes, 6))


def _is_ownerless(task: TaskRow, worker: WorkerRow | None, now: datetime, lease_s: float) -> bool:
    if _overdue_s(task, now) > _FAR_PAST_S:
        return True
    claimed_at = later(task.deadline_at or now, -task.timeout_s)
    if worker is None:
        return claimed_at < later(now, -lease_s)
    if worker.state != "active":
        return True
    # Not a beat whose list of children may be older than the claim.
    return worker.beat_at > later(claimed_at, 5.0) and task.pid not in worker.children


def _hold(
    run: RunRow,
    task: TaskRow,
    *,
    verdict: str | None,
    overdue_s: float = 0.0,
    claim_id: UUID | None = None,
) -> Held:
    claim_id = claim_id or task.claim_id
    if claim_id is None or task.worker_id is None or task.pid is None:
        raise RuntimeError(f"task {task.task_no} of run {run.id} is running and nobody holds it")
    return Held(
        claim=Claim(
            run_id=run.id,
            task_no=task.task_no,
            attempt=task.attempt,
            claim_id=claim_id,
            losses=task.losses,
        ),
        owner=Owner(worker_id=task.worker_id, pid=task.pid),
        verdict=verdict,
        overdue_s=overdue_s,
    )


def _by_run(pairs: Iterable[tuple[UUID, int]]) -> dict[UUID, list[int]]:
    found: dict[UUID, list[int]] = defaultdict(list)
    for run_id, task_no in pairs:
        found[run_id].append(task_no)
    return dict(found)
