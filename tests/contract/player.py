"""One run as a test plays it: tasks by node id, claims remembered, every move through the port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.event import Event, Kind
from orchestrator.models.runs.run import Run, RunState
from orchestrator.models.runs.task import Task
from orchestrator.ports.moves import Ending, LogLine, Moved, Owner, Take
from orchestrator.ports.store import Store
from tests.factories import PlanJson, start

OWNER = Owner(worker_id=UUID(int=7), pid=1)


class Player:
    """Starts a run of a plan and moves it. `moved` keeps what every move returned."""

    def __init__(self, store: Store, plan: PlanJson, *, owner: Owner = OWNER, **run: Any) -> None:
        self.store = store
        self.owner = owner
        self.started = start(store, plan, **run)
        self.run_id = self.started.run_id
        self.tenant_id: UUID = run.get("tenant_id", DEFAULT_TENANT)
        self.numbers = {row[1]: row[0] for row in plan["rows"]}
        self.claims: dict[str, UUID] = {}

    def run(self) -> Run:
        """Read the run."""
        found = self.store.reads.run(self.tenant_id, self.run_id)
        assert found is not None
        return found

    def task(self, node_id: str) -> Task:
        """Read one task."""
        (found,) = self.store.reads.tasks(self.run_id, node_id=node_id)
        return found

    def states(self) -> dict[str, str]:
        """Read every task's state by node id."""
        tasks = self.store.reads.tasks(self.run_id, limit=10_000)
        return {t.node_id: str(t.state) for t in tasks}

    def events(self, after: int = 0) -> list[Event]:
        """Read the events."""
        return self.store.reads.events(self.run_id, after=after, limit=100_000)

    def told(self, after: int = 0) -> list[tuple[str | None, str | None]]:
        """Read (node id or None for the run, state) of the moves in `seq` order."""
        return [(e.node_id, e.state) for e in self.events(after) if e.kind is not Kind.LOG]

    def claim(self, *node_ids: str, attempt: int | None = None) -> Moved | None:
        """Claim the present attempts of tasks under one new claim."""
        wanted = [(self.numbers[n], attempt or self.task(n).attempt) for n in node_ids]
        claim_id = uuid4()
        moved = self.store.moves.claim_attempts(
            self.run_id, wanted, claim_id=claim_id, owner=self.owner
        )
        if moved:
            names = {no: n for n, no in self.numbers.items()}
            self.claims.update((names[c.task_no], claim_id) for c in moved.claimed)
        return moved

    def ending(self, node_id: str, state: str = "succeeded", **more: Any) -> Ending:
        """Return an ending of a task's present attempt."""
        more.setdefault("attempt", self.task(node_id).attempt)
        return Ending(task_no=self.numbers[node_id], state=state, **more)

    def settle(
        self,
        endings: Sequence[Ending],
        *,
        claim_id: UUID,
        logs: Sequence[LogLine] = (),
        take: Take | None = None,
        room: int = 1000,
    ) -> Moved:
        """Settle under a claim; the run must be there."""
        moved = self.store.moves.settle_attempts(
            self.run_id, claim_id, endings, logs=logs, take=take, room=room
        )
        assert moved is not None
        names = {no: n for n, no in self.numbers.items()}
        self.claims.update((names[c.task_no], c.claim_id) for c in moved.claimed)
        return moved

    def end(
        self,
        node_id: str,
        state: str = "succeeded",
        *,
        take: Take | None = None,
        room: int = 1000,
        **more: Any,
    ) -> Moved:
        """Settle the attempt that this player holds of a task."""
        return self.settle(
            [self.ending(node_id, state, **more)],
            claim_id=self.claims[node_id],
            take=take,
            room=room,
        )

    def do(self, node_id: str, state: str = "succeeded", **more: Any) -> Moved:
        """Claim a task that is queued, and settle it."""
        assert self.claim(node_id), f"{node_id} is {self.task(node_id).state}"
        return self.end(node_id, state, **more)

    def fail(self, node_id: str, message: str = "broken", **more: Any) -> Moved:
        """Claim a task and end it as failed."""
        return self.do(node_id, "failed", error={"code": "boom", "message": message}, **more)

    def queue(self, *node_ids: str) -> Moved | None:
        """Give tasks their next message."""
        return self.store.moves.queue_tasks(self.run_id, [self.numbers[n] for n in node_ids])

    def cancel(self, to: RunState = RunState.CANCELLED) -> Moved | None:
        """Cancel the run."""
        return self.store.moves.cancel_run(self.run_id, to)

    def finish(self, output: Any = None, error: Mapping[str, Any] | None = None) -> Moved | None:
        """Finish the run."""
        return self.store.moves.end_run(self.run_id, output, error)

    def line(
        self, node_id: str, message: str, *, level: str = "info", age_s: float = 0.0
    ) -> LogLine:
        """Return a log line of a task."""
        return LogLine(task_no=self.numbers[node_id], level=level, message=message, age_s=age_s)
