"""How runs and tasks look in tables, and what is printed of a run that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.cli.terminal.output import ago, as_json, clean, duration, say, show, state


def print_ended(ended: Mapping[str, Any], shape: str) -> int:
    """Print what became of a run; 0 when it succeeded, else 1."""
    if shape != "table":
        show(shape, ended, {})
    else:
        say(f"run {ended['id']} {state(ended['state'])} in {duration(ended['duration_ms'])}")
        if ended.get("error"):
            say(f"error: {clean(error_text(ended['error']))}", err=True)
        if ended.get("output") is not None:
            say(as_json(ended["output"], indent=2))
    return exit_code(ended)


def exit_code(ended: Mapping[str, Any]) -> int:
    """Return the exit code that tells of a run: 0 when it succeeded, else 1."""
    return 0 if ended["state"] == "succeeded" else 1


def error_text(error: Any) -> str:
    """Return an error's code and message in one line."""
    if isinstance(error, dict):
        return f"{error.get('code', 'error')}: {error.get('message', '')}"
    return str(error)


RUN_COLUMNS = {
    "run": lambda r: r["id"],
    "workflow": lambda r: clean(r.get("workflow_name") or r["workflow_id"]),
    "version": lambda r: r["version"],
    "state": lambda r: state(r["state"]),
    "trigger": lambda r: r["trigger"],
    "started": lambda r: ago(r.get("started_at")),
    "took": lambda r: duration(r.get("duration_ms")),
}
TASK_COLUMNS = {
    "node": lambda t: t["node_id"],
    "type": lambda t: t["type"],
    "state": lambda t: state(t["state"]),
    "attempt": lambda t: f"{t['attempt']}/{t['max_attempts']}" if t["attempt"] else "",
    "took": lambda t: duration(t.get("duration_ms")),
    "worker": lambda t: clean(t.get("worker") or ""),
    "error": lambda t: clean(error_text(t["error"]))[:80] if t.get("error") else "",
}
