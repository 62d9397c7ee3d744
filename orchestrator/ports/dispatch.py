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

    def open(self, run_id: UUID, size: int, messages: Sequence[Sequence[Release]] = ()) -> bool:
        """Set the chord's size, once, and then release `messages`. False when it could not be."""

    def show(self, moved: Moved, plan: Callable[[UUID, int], Plan]) -> None:
        """Let Celery's own tools see a commit, before what it released is announced.

        `plan` finds the plan of a (workflow, version); it is called only when it is needed.
        """

    def release(self, messages: Sequence[Sequence[Release]], *, again: bool = False) -> bool:
        """Announce attempts to the workers of their queues. What shares a message is of one run and
        one queue; whoever takes the message works through it, or hands the rest back.

        `again`: under another id, whatever became of the message with the first one."""

    def settled(self, run_id: UUID, task_nos: Sequence[int], *, ended: bool = False) -> bool:
        """Report settled tasks as the chord's parts; the last one fires `finish_run`.

        `ended`: the run has ended with them, which leaves the body nothing to do: the chord is
        taken down, and fires it no more.
        """

    def flush(self, timeout_s: float) -> None:
        """Wait until what nobody waits for is sent, for a process that is about to end."""

    def depth(self, queue: str) -> int | None:
        """Return how many announcements wait in a queue; None when that is not known."""
