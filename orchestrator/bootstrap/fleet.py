"""What a worker's supervisor needs all the time: beats, and leases that it watches.

A composition root apart from `bootstrap.core`, since that one's libraries take 40 megabytes,
which an idle supervisor never uses: it builds that core when it has to end an attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.adapters.postgres.connections.single_connection import SingleConnection
from orchestrator.adapters.postgres.fleet import PostgresFleet
from orchestrator.ports.fleet import Fleet, Held
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.bootstrap.core import Core


class FleetCore:
    """A worker's place in the fleet."""

    def __init__(self, settings: Settings) -> None:
        if settings.embedded:
            from orchestrator.bootstrap.resolving import resolve

            settings = resolve(settings)
        self.settings = settings
        #: Seconds a beat may take: two that fail, one after the other, are within a lease.
        worker = settings.worker
        self.answer_s = max(1.0, (worker.lease_s - worker.beat_s - 1.0) / 2)
        self._connection = SingleConnection(
            settings.database.url,
            statement_timeout_s=min(settings.database.statement_timeout_s, worker.lease_s),
            connect_timeout_s=settings.database.connect_timeout_s,
            answer_s=self.answer_s,
        )
        self.fleet: Fleet = PostgresFleet(self._connection)
        self._core: Core | None = None

    def conclude(self, held: Held) -> bool:
        """See `Upkeep.conclude`."""
        if self._core is None:
            from orchestrator.bootstrap.core import build

            self._core = build(self.settings, pool_size=2)
        return self._core.upkeep.conclude(held)

    def cut(self) -> None:
        """Let whoever waits for an answer to a beat wait no longer. From any thread."""
        self._connection.cut()

    def close(self) -> None:
        """Give the connections back."""
        self._connection.close()
        if self._core is not None:
            self._core.store.close()
