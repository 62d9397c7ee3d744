"""A run on the screen: what its frames make of it, as lines and as a table."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from orchestrator.cli.terminal.live import LineDisplay, TerminalDisplay
from orchestrator.cli.terminal.view import RunView

RUN = {"id": "r", "workflow_name": "w"}
TASKS = [{"node_id": "fetch", "type": "http"}, {"node_id": "total", "type": "transform"}]


def at(seconds: float) -> str:
    return f"2026-01-31T08:00:{seconds:06.3f}Z"


def task(seq: int, node: str, state: str, seconds: float, **more: Any) -> dict[str, Any]:
    frame = {"seq": seq, "kind": "task", "node_id": node, "state": state, "at": at(seconds)}
    return {**frame, "attempt": 1, **more}


FRAMES = [
    {"seq": 1, "kind": "run", "state": "running", "at": at(0)},
    task(2, "fetch", "running", 0),
    {
        "seq": 3, "kind": "log", "level": "warning", "node_id": "fetch", "at": at(0.5),
        "message": "slow \x1b[2J server",
    },
    task(
        4, "fetch", "retrying", 1, delay_s=2.0,
        error={"code": "http_status", "message": "503"},
    ),
    task(5, "fetch", "running", 3, attempt=2),
    task(6, "fetch", "succeeded", 4, attempt=2),
    task(7, "total", "skipped", 4, attempt=0, reason="upstream_skipped"),
    {"seq": 8, "kind": "gap", "from": 8, "to": 9},
    {"seq": 10, "kind": "run", "state": "succeeded", "at": at(4)},
]  # fmt: skip


def seen(count: int = len(FRAMES)) -> RunView:
    view = RunView.of(RUN, TASKS)
    for frame in FRAMES[:count]:
        view.apply(frame)
    return view


def test_a_retried_node_counts_from_its_first_attempt() -> None:
    row = seen().rows["fetch"]
    assert (row.state, row.attempt) == ("succeeded", 2)
    assert row.took_ms(datetime.now(UTC)) == 4000


def test_a_line_that_is_withheld_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    frame = {"seq": 3, "kind": "log", "node_id": "fetch", "at": at(0.5), "withheld": True}
    LineDisplay(seen()).show(frame)
    assert "needs the permission logs:read" in capsys.readouterr().out


def test_a_waiting_retry_says_why_and_when() -> None:
    row = seen(4).rows["fetch"]
    assert row.note == "http_status: 503, again in 2.0 s"
    assert row.took_ms(datetime.fromisoformat(at(2.5))) == 2500


def test_progress_counts_ends_and_knows_the_run() -> None:
    assert [seen(n).done for n in (0, 5, 6, 7)] == [0, 0, 1, 2]
    assert seen().state == "succeeded"


def test_a_lost_attempt_leaves_the_state_to_the_next_frame() -> None:
    view = seen(2)
    view.apply(task(3, "fetch", "lost", 1, reason="worker_lost"))
    assert view.rows["fetch"].state == "running"


def test_a_node_nobody_told_of_gets_a_row() -> None:
    view = RunView.of(RUN, [])
    view.apply(task(1, "new", "queued", 0))
    assert view.rows["new"].state == "queued"


def test_without_a_terminal_each_event_is_one_plain_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = RunView.of(RUN, TASKS)
    with LineDisplay(view) as display:
        for frame in FRAMES:
            display.show(frame)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(FRAMES)
    assert "\x1b" not in "".join(lines)
    assert lines[3] == "08:00:01.000Z  fetch  retrying: http_status: 503, again in 2.0 s"
    assert lines[5] == "08:00:04.000Z  fetch  succeeded (attempt 2)"
    assert "8 to 9" in lines[7]


def drawn(view: RunView, *, height: int = 40) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=height, no_color=True)
    with TerminalDisplay(view, console) as display:
        for frame in FRAMES:
            display.show(frame)
    return file.getvalue()


def test_on_a_terminal_there_is_a_table_a_bar_and_the_log_above() -> None:
    text = drawn(seen())
    assert "2/2 nodes" in text
    assert text.index("server") < text.rindex("fetch")
    assert "\x1b[2J" not in text


def test_a_large_run_shows_what_is_on_its_way() -> None:
    tasks = [{"node_id": f"n{number}", "type": "noop"} for number in range(100)]
    view = RunView.of(RUN, tasks)
    view.apply(task(1, "n99", "running", 0))
    text = drawn(view, height=20)
    assert "n99" in text
    assert "more nodes" in text
