"""The moves of runs and tasks: each calls one function of `migrations/functions`, one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from orchestrator.adapters.postgres.access.audit import with_changes, with_entry
from orchestrator.adapters.postgres.connections.pool import Pool, dumps
from orchestrator.adapters.postgres.decoding import moved
from orchestrator.models.runs.run import RunState
from orchestrator.ports.acting import acting
from orchestrator.ports.moves import Ending, LogLine, Mark, Moved, NewRun, Owner, Take

_START = "SELECT zq_start_newest_v2(%s, %s, %s, %s, %s, %s::text[], %s::jsonb, %s, %s)"
_CLAIM = "SELECT zq_claim_v2(%s, %s::int[], %s::int[], %s, %s, %s)"
_SETTLE = (
    "SELECT zq_settle_v2(%s, %s, %s::int[], %s::int[], %s::text[], %s::jsonb[], %s::jsonb[],"
    " %s::float8[], %s::jsonb, %s, %s, %s::text[], %s, %s, %s::int[], %s::int[])"
)
_QUEUE = "SELECT zq_queue_v2(%s, %s::int[])"
_CANCEL = "SELECT zq_cancel_v2(%s, %s)"
_STEER = "SELECT zq_steer_v2(%s, %s, %s)"
_MARK = "SELECT zq_mark_v2(%s, %s, %s, %s::jsonb, %s, %s, %s)"
#: Where `starting` has the input.
INPUT = 6
_TAKE_OUTPUT = "SELECT zq_take_output_v1(%s, %s)"
_LEAVE_OUTPUT = (
    "UPDATE run_counters SET output_tries = output_tries - 1,"
    " output_until = zq_now_v1() + %s * interval '1 second'"
    " WHERE run_id = %s AND output_tries > 0"
)
_FINISH = "SELECT zq_finish_v2(%s, %s::jsonb, %s::jsonb)"


class PostgresMoves:
    """Answers `ports.moves.Moves`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def _call(self, statement: str, parameters: tuple[Any, ...]) -> Any:
        with self._pool.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchone()[0]

    def _call_audited(
        self, statement: str, thing: tuple[str, object], parameters: tuple[Any, ...]
    ) -> Any:
        """Call a move that people make: it leaves an entry in the audit log, in its own commit.

        Locks: the run first, the audit log's head last; everything else that locks both does so
        in this order too.
        """
        statement, more = with_entry(statement, acting(), *thing)
        return self._call(statement, (*parameters, *more))

    def store_run_of_newest(self, new: NewRun) -> Moved | None:
        """See the port."""
        statement, more = with_changes(_START, acting())
        values = starting(new)
        row = self._call(statement, (*values, *more))
        return moved(new.id, row, stored_bytes=size_of(values[INPUT]))

    def claim_attempts(
        self, run_id: UUID, wanted: Sequence[tuple[int, int]], *, claim_id: UUID, owner: Owner
    ) -> Moved | None:
        """See the port."""
        numbers, attempts = [n for n, _ in wanted], [a for _, a in wanted]
        row = self._call(_CLAIM, (run_id, numbers, attempts, claim_id, owner.worker_id, owner.pid))
        return moved(run_id, row, claim_id=claim_id)

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
        outputs = [None if e.output is None else dumps(e.output) for e in endings]
        lines = dumps([[x.task_no, x.level, x.message, x.age_s] for x in logs]) if logs else None
        row = self._call(
            _SETTLE,
            (
                run_id,
                claim_id,
                [e.task_no for e in endings],
                [e.attempt for e in endings],
                [e.state for e in endings],
                outputs,
                [None if e.error is None else dumps(e.error) for e in endings],
                [e.delay_s for e in endings],
                lines,
                take.owner.worker_id if take else None,
                take.owner.pid if take else None,
                list(take.queues) if take else [],
                take.limit if take else 0,
                room,
                [no for no, _ in take.next] if take else [],
                [attempt for _, attempt in take.next] if take else [],
            ),
        )
        stored_bytes = sum(map(size_of, outputs)) + size_of(lines)
        return moved(run_id, row, claim_id=claim_id, logs=logs, stored_bytes=stored_bytes)

    def queue_tasks(self, run_id: UUID, task_nos: Sequence[int]) -> Moved | None:
        """See the port."""
        return moved(run_id, self._call(_QUEUE, (run_id, list(task_nos))))

    def cancel_run(self, run_id: UUID, to: RunState) -> Moved | None:
        """See the port."""
        return moved(run_id, self._call_audited(_CANCEL, ("run", run_id), (run_id, str(to))))

    def steer_run(self, run_id: UUID, was: RunState, to: RunState) -> Moved | None:
        """See the port."""
        values = (run_id, str(was), str(to))
        return moved(run_id, self._call_audited(_STEER, ("run", run_id), values))

    def mark_task(self, run_id: UUID, mark: Mark, room: int) -> Moved | None:
        """See the port."""
        output = None if mark.output is None else dumps(mark.output)
        values = (run_id, mark.task_no, mark.state, output, mark.reason, mark.by, room)
        return moved(run_id, self._call_audited(_MARK, ("task", mark.name(run_id)), values))

    def take_output(self, run_id: UUID, lease_s: float) -> int | None:
        """See the port."""
        tries: int | None = self._call(_TAKE_OUTPUT, (run_id, lease_s))
        return tries

    def leave_output(self, run_id: UUID, again_s: float) -> None:
        """See the port."""
        with self._pool.cursor() as cursor:
            cursor.execute(_LEAVE_OUTPUT, (again_s, run_id))

    def end_run(self, run_id: UUID, output: Any, error: Mapping[str, Any] | None) -> Moved | None:
        """See the port."""
        values = tuple(None if v is None else dumps(v) for v in (output, error))
        return moved(run_id, self._call(_FINISH, (run_id, *values)))


def size_of(text: Any) -> int:
    """Return the length of what was dumped; 0 for nothing."""
    return 0 if text is None else len(text)


def starting(new: NewRun) -> tuple[Any, ...]:
    """Return what the functions that start a run take."""
    return (
        new.id, new.tenant_id, new.workflow_id, new.version, str(new.trigger), list(new.tags),
        None if new.input is None else dumps(new.input), new.origin_run_id, new.room,
    )  # fmt: skip
