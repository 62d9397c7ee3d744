"""A run made from an ended one in memory, some of whose tasks are taken over as they ended.

The same rules as `migrations/functions/rerun_v3.sql`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as changed

from orchestrator.adapters.memory.ending import end_run
from orchestrator.adapters.memory.settle import Settlement
from orchestrator.adapters.memory.tables import RunRow, pack, unpack
from orchestrator.models.runs.large_output import file_of, marker, renumbered
from orchestrator.models.runs.task import TaskState
from orchestrator.ports.moves import Moved

#: What of a task says how it ended; what it is comes from the new run's version.
_TAKEN = (
    "state", "output", "reason", "attempt", "queued_at", "started_at", "finished_at", "worker_id",
    "up_failed", "up_skipped",
)  # fmt: skip


def take_over(
    run: RunRow, origin: RunRow, started: Moved, numbers: Mapping[int, int], room: int
) -> Moved:
    """Copy what does not run again into a run just started, and let its dependants follow."""
    now = run.created_at
    kept = []
    for no, origin_no in sorted(numbers.items()):
        old, task = origin.tasks[origin_no], run.tasks[no]
        for name in _TAKEN:
            setattr(task, name, getattr(old, name))
        task.waits_for = 0
        file = file_of(origin.id, unpack(old.output))
        if file is not None:
            task.output = pack(marker(run.id, renumbered(file, no)))
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
