"""The same services on the memory adapters: no servers, one process, gone with it.

A composition root apart from `bootstrap.core`, because that one's libraries take a second to
import and nothing here needs them. Does no work by itself: `workers.in_memory.worker` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.adapters.memory.store import MemoryStore
from orchestrator.ports.live import Observer
from orchestrator.ports.moves import Release
from orchestrator.services.definitions.workflows import Workflows
from orchestrator.services.runs.engine import WorkflowEngine
from orchestrator.services.runs.rerunning import Rerunning
from orchestrator.services.runs.steering import Steering
from orchestrator.services.runs.upkeep import Upkeep
from orchestrator.settings import Upkeep as UpkeepSettings
from orchestrator.settings import Worker as WorkerSettings


class SkippingClock:
    """The machine's clock, which a wait moves on instead of being waited for."""

    def __init__(self) -> None:
        self._skipped = timedelta()

    def now(self) -> datetime:
        """See `ports.runtime.Clock`."""
        return datetime.now(UTC) + self._skipped

    def skip(self, seconds: float) -> None:
        """Let time pass at once."""
        self._skipped += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCore:
    """What `bootstrap.core.Core` is elsewhere, for one process and its memory."""

    store: MemoryStore
    artifacts: MemoryArtifacts
    clock: SkippingClock
    engine: WorkflowEngine
    workflows: Workflows
    steering: Steering
    rerunning: Rerunning
    upkeep: Upkeep
    _dispatcher: MemoryDispatcher

    def announced(self) -> list[Release]:
        """Take every attempt that has been announced to any queue, most urgent first."""
        return self._dispatcher.drain()


def build_in_memory(observers: Sequence[Observer] = ()) -> MemoryCore:
    """Wire a core; `observers` are told of every event after its commit."""
    clock = SkippingClock()
    store = MemoryStore(clock)

    def finish(run_id: UUID) -> None:
        engine.finish_run(run_id)

    dispatcher = MemoryDispatcher(finish)
    artifacts = MemoryArtifacts()
    engine = WorkflowEngine(store, dispatcher, tuple(observers), clock, artifacts)
    return MemoryCore(
        store=store,
        artifacts=artifacts,
        clock=clock,
        engine=engine,
        workflows=Workflows(store, clock),
        steering=Steering(store, engine),
        rerunning=Rerunning(store, engine, clock, artifacts),
        upkeep=Upkeep(store, engine, dispatcher, clock, UpkeepSettings(), WorkerSettings()),
        _dispatcher=dispatcher,
    )
