"""A run, shown as it happens: a table with a progress bar on a terminal, else one line an event."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.cli.terminal.lines import LOUD, LineDisplay, move_text, said
from orchestrator.cli.terminal.output import STATE_COLOURS, clean, coloured, duration
from orchestrator.cli.terminal.times import clock
from orchestrator.cli.terminal.view import BUSY, NodeRow, RunView
from orchestrator.client.documents import Frame
from orchestrator.client.http import Client

#: Lines of the terminal that are not the table's.
_OTHER_LINES = 5


class Display(Protocol):
    """Shows a run; use it in a `with`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, frame: Frame) -> None:
        """Show that a frame came; the view knows of it already."""

    def say(self, text: str) -> None:
        """Show a line of the caller's own."""


def follow(
    client: Client, run_id: str, *, on_display: Callable[[Display], None] | None = None
) -> RunView:
    """Show a run until it has ended and return what became of its nodes.

    `on_display` is given the display, for lines that others want to be shown meanwhile.
    """
    view = RunView.of(client.run(run_id), client.tasks(run_id))
    with display_of(view) as display:
        if on_display is not None:
            on_display(display)
        for frame in client.watch(run_id):
            view.apply(frame)
            display.show(frame)
    return view


def display_of(view: RunView) -> Display:
    """Return the display that fits standard output."""
    if sys.stdout.isatty():
        return TerminalDisplay(view)
    return LineDisplay(view)


class TerminalDisplay:
    """A table of nodes that stays at the bottom; log lines scroll by above it."""

    def __init__(self, view: RunView, console: Console | None = None) -> None:
        self._view = view
        self._console = console or Console(highlight=False, no_color=not coloured())
        self._live = Live(
            console=self._console, get_renderable=self._draw, refresh_per_second=10, transient=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, frame: Frame) -> None:
        """See `Display`."""
        if frame["kind"] == "log":
            level = str(frame.get("level", "info"))
            self._console.print(
                Text.assemble(
                    (clock(str(frame["at"])), "dim"),
                    "  ",
                    (str(frame.get("node_id") or "-"), "cyan"),
                    "  ",
                    (said(frame), LOUD.get(level, "")),
                )
            )
        elif frame.get("state") in {"retrying", "failed", "timed_out", "lost"}:
            style = STATE_COLOURS.get(str(frame["state"]), "")
            name = str(frame.get("node_id") or "run")
            self._console.print(
                Text.assemble(
                    (clock(str(frame["at"])), "dim"), "  ", (name, "cyan"), "  ",
                    (move_text(frame), style),
                )
            )  # fmt: skip

    def say(self, text: str) -> None:
        """See `Display`."""
        self._console.print(Text(text))

    def _draw(self) -> RenderableType:
        now = datetime.now(UTC)
        table = Table(box=None, padding=(0, 1), show_edge=False, pad_edge=False)
        for name in ("node", "type", "state", "attempt", "time"):
            table.add_column(
                name, style="dim" if name == "type" else "", no_wrap=True,
                justify="right" if name in {"attempt", "time"} else "left",
            )  # fmt: skip
        table.add_column("", no_wrap=True, overflow="ellipsis", style="dim")
        rows, hidden = self._fitting()
        for row in rows:
            table.add_row(
                row.node_id,
                row.type,
                Text(row.state, STATE_COLOURS.get(row.state, "")),
                str(row.attempt) if row.attempt > 1 else "",
                duration(row.took_ms(now)),
                clean(row.note),
            )
        more = [Text(f"... and {hidden} more nodes", "dim")] if hidden else []
        return Group(Text(""), table, *more, self._progress())

    def _fitting(self) -> tuple[list[NodeRow], int]:
        """Return the rows the terminal has room for: those on their way before all others."""
        rows = list(self._view.rows.values())
        room = max(1, self._console.size.height - _OTHER_LINES)
        if len(rows) <= room:
            return rows, 0
        busy = [row for row in rows if row.state in BUSY or row.state in {"failed", "timed_out"}]
        rest = [row for row in rows if row not in busy and not row.ended]
        over = [row for row in rows if row not in busy and row.ended]
        return (busy + rest + over)[: room - 1], len(rows) - room + 1

    def _progress(self) -> RenderableType:
        total, done = max(1, len(self._view.rows)), self._view.done
        grid = Table.grid(padding=(0, 1))
        colour = STATE_COLOURS.get(self._view.state, "")
        grid.add_row(
            ProgressBar(total=total, completed=done, width=40),
            Text(f"{done}/{len(self._view.rows)} nodes"),
            Text(self._view.state, colour),
        )
        return grid
