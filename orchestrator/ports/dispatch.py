"""How work reaches workers: announcements that may be lost or doubled without harm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from orchestrator.models.definitions.plan import Plan
from orchestrator.ports.moves import Moved, Release

#: Celery messages by name: whoever publishes one never imports the code that runs it.
EXECUTE = "zq.execute"
FINISH_RUN = "zq.finish_run"
#: Where chord bodies go; every worker consumes it.
FINISH_QUEUE = "zq.finish"


class Dispatcher(Protocol):
    """A run as one chord. Nothing here raises: what is not announced, upkeep announces again."""

    def tell(
        self, moved: Moved, messages: Sequence[Sequence[Release]], plan: Callable[[UUID, int], Plan]
    ) -> None:
        """Tell everybody behind the dispatcher of one commit, in the order that they rely on.

        Celery's own tools see it before what it queued is announced. Where it starts a run, the
        chord's size comes before the first of its parts and messages, and a chord that cannot be
        opened leaves both to upkeep. `settled` tasks are the chord's parts: the last one fires
        `finish_run`, unless the run has ended with them, which takes the chord down. `messages`
        announce what was `queued`. `plan` finds the plan of a (workflow, version), when needed.
        """

    def open(self, run_id: UUID, size: int) -> bool:
        """Set a chord's size once more, for a run that nobody has claimed. False when it could not
        be."""

    def finish(self, run_id: UUID) -> bool:
        """Ask a worker to end a run whose tasks have all ended. False when it could not be."""

    def release(self, messages: Sequence[Sequence[Release]], *, again: bool = False) -> bool:
        """Announce attempts to the workers of their queues. What shares a message is of one run and
        one queue; whoever takes the message works through it, or hands the rest back.

        `again`: under another id, whatever became of the message with the first one."""

    def flush(self, timeout_s: float) -> None:
        """Wait until what nobody waits for is sent, for a process that is about to end."""

    def depth(self, queue: str) -> int | None:
        """Return how many announcements wait in a queue; None when that is not known."""
