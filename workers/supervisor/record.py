"""What a watch needs of the record."""

from __future__ import annotations

from typing import Protocol

from orchestrator.ports.fleet import Fleet, Held
from orchestrator.settings import Settings


class Record(Protocol):
    """The record as a watch sees it; `FleetCore` is it."""

    settings: Settings
    fleet: Fleet
    #: Seconds a beat may take.
    answer_s: float

    def conclude(self, held: Held) -> bool:
        """See `Upkeep.conclude`."""

    def cut(self) -> None:
        """Let whoever waits for an answer to a beat wait no longer."""
