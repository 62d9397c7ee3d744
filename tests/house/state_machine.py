"""Draws the diagrams from the moves tables; run as a module, it writes `docs/state_machine.md`.

The house test compares what is written with what the tables say now.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.models.runs import run, task

PAGE = Path(__file__).parents[2] / "docs" / "state_machine.md"

_HEAD = """# States and moves

Generated from `MOVES` in `orchestrator/models/runs/run.py` and `orchestrator/models/runs/task.py`:
do not edit. After a change there: `python -m tests.house.state_machine`. Postgres guards the same
moves in `migrations/functions/` and the same states in `CHECK` constraints.
"""

_TAIL = """
`ready` is no event: it is the wait for room in a queue, inside the record. A task that its worker
goes on with in place goes from `pending` to `running` at once and has no event for `queued`. A
waiting task comes back as `queued` with the same attempt, a retrying one with the next.
"""


def _remarks(states: type[StrEnum]) -> dict[str, str]:
    """Return the `#:` remark of each member, which is what people read of it."""
    lines = inspect.getsource(states).splitlines()
    tree = ast.parse("\n".join(lines))
    found = {}
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            remark = re.search(r"#:\s*(.+)$", lines[statement.lineno - 1])
            found[str(statement.value.value)] = remark.group(1) if remark else ""
    return found


def _section(
    title: str, states: type[StrEnum], moves: Mapping[Any, frozenset[Any]], first: StrEnum
) -> str:
    remarks = _remarks(states)
    order = list(states)
    lines = [f"\n## {title}\n", _diagram(states, moves, first)]
    lines += ["\n| state | means | may become |", "|---|---|---|"]
    for was in order:
        after = ", ".join(f"`{to}`" for to in order if to in moves[was]) or "– (an end)"
        lines.append(f"| `{was}` | {remarks[was]} | {after} |")
    return "\n".join(lines) + "\n"


def _diagram(states: type[StrEnum], moves: Mapping[Any, frozenset[Any]], first: StrEnum) -> str:
    order = list(states)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    for was in order:
        lines += [f"    {was} --> {to}" for to in order if to in moves[was]]
        lines += [f"    {was} --> [*]"] if not moves[was] else []
    return "\n".join([*lines, "```"])


def run_diagram() -> str:
    """Return the diagram of a run's states."""
    return _diagram(run.RunState, run.MOVES, run.RunState.QUEUED)


def task_diagram() -> str:
    """Return the diagram of a task's states."""
    return _diagram(task.TaskState, task.MOVES, task.TaskState.PENDING)


def page() -> str:
    """Return the page as the tables say it now."""
    return (
        _HEAD
        + _section("A run", run.RunState, run.MOVES, run.RunState.QUEUED)
        + _section("A task", task.TaskState, task.MOVES, task.TaskState.PENDING)
        + _TAIL
    )


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
