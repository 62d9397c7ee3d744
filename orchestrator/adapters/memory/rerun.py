"""A run of an ended run's version in memory, some of whose tasks are taken over as they ended.

The same rules as `migrations/functions/rerun_v2.sql`.
"""

from __future__ import annotations

from dataclasses import replace as changed

from orchestrator.adapters.memory.ending import end_run
from orchestrator.adapters.memory.settle import Settlement
from orchestrator.adapters.memory.tables import RunRow, pack, unpack
from orchestrator.models.runs.large_output import file_of, marker
from orchestrator.models.runs.task import TaskState
from orchestrator.ports.moves import Moved


def take_over(
    run: RunRow, origin: RunRow, started: Moved, again: frozenset[int], room: int
) -> Moved:
    """Copy what does not run again into a run just started, and let its dependants follow."""
    now = run.created_at
    kept = []
    for no, old in sorted(origin.tasks.items()):
        if no in again:
            continue
        task = changed(
            old, waits_for=0, claim_id=None, pid=None, losses=0, resumed=None, deadline_at=None
        )
        name = file_of(origin.id, unpack(old.output))
        if name is not None:
            task.output = pack(marker(run.id, name))
        run.tasks[no] = task
        run.say_task(task, now, {"origin_run_id": str(origin.id)})
        kept.append(task)
    settlement = Settlement(run, run.id, now, None, room)
    settlement.spread(kept)
    last = end_run(run, now, None, None) if run.leaves is not None else None
    ready = [t for t in run.tasks.values() if t.state is TaskState.READY]
    return changed(
        started,
        events=tuple(run.events),
        queued=tuple(settlement.queued),
        settled=tuple(t.task_no for t in kept) + tuple(settlement.settled),
        ready=len(ready),
        open=0 if last else run.open,
    )
