"""What is known of a run from its frames: each node's state, attempt and time. Draws nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.models.runs.task import ENDS, TaskState

#: States in which a task is on its way: the clock of its row is running.
BUSY = frozenset({TaskState.RUNNING, TaskState.WAITING, TaskState.RETRYING})


@dataclass(slots=True, kw_only=True)
class NodeRow:
    """One node of the run as it stands."""

    node_id: str
    type: str = ""
    state: str = TaskState.PENDING
    attempt: int = 0
    began_at: datetime | None = None
    ended_at: datetime | None = None
    note: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDS

    def took_ms(self, now: datetime) -> float | None:
        """Milliseconds from the first attempt's start, until now while it is on its way."""
        if self.began_at is None:
            return None
        return max(0.0, ((self.ended_at or now) - self.began_at).total_seconds() * 1000)


@dataclass(slots=True, kw_only=True)
class RunView:
    """A run as its watcher sees it; `apply` takes frames in `seq` order."""

    run_id: str
    workflow: str = ""
    state: str = "queued"
    rows: dict[str, NodeRow] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Mapping[str, Any], tasks: Iterable[Mapping[str, Any]]) -> RunView:
        """Return the view of a run before its first frame: every node, and none has begun."""
        rows = {t["node_id"]: NodeRow(node_id=t["node_id"], type=t["type"]) for t in tasks}
        return cls(run_id=run["id"], workflow=run.get("workflow_name") or "", rows=rows)

    @property
    def done(self) -> int:
        """How many nodes have ended."""
        return sum(row.ended for row in self.rows.values())

    def apply(self, frame: Mapping[str, Any]) -> None:
        """Take note of one frame."""
        if frame["kind"] == "run":
            self.state = str(frame["state"])
        elif frame["kind"] == "task":
            self._move(frame)

    def _move(self, frame: Mapping[str, Any]) -> None:
        node_id = str(frame["node_id"])
        row = self.rows.setdefault(node_id, NodeRow(node_id=node_id))
        at = datetime.fromisoformat(str(frame["at"]))
        state = str(frame["state"])
        if state != "lost":  # What a lost attempt leads to comes in the next frame.
            row.state = state
        row.attempt = int(frame.get("attempt") or row.attempt)
        row.note = note(frame)
        if state == TaskState.RUNNING and row.began_at is None:
            row.began_at = at
        if row.ended:
            row.ended_at = at


def note(frame: Mapping[str, Any]) -> str:
    """Return why a move was made, in a few words; empty where that is clear."""
    error = frame.get("error")
    if isinstance(error, Mapping):
        text = f"{error.get('code', 'error')}: {error.get('message', '')}"
    else:
        text = str(frame.get("reason") or "")
    delay_s = frame.get("delay_s")
    if delay_s and frame.get("state") in {TaskState.RETRYING, TaskState.WAITING}:
        text = f"{text}, " if text else ""
        again = "again" if frame["state"] == TaskState.RETRYING else "goes on"
        text += f"{again} in {float(delay_s):.1f} s"
    return text
