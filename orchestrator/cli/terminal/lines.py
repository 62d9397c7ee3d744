"""A run shown as lines, one for each event: for pipes, files and dry runs."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from orchestrator.cli.terminal.output import clean
from orchestrator.cli.terminal.times import clock, moment
from orchestrator.cli.terminal.view import RunView, note

if TYPE_CHECKING:
    from orchestrator.client.documents import Frame

#: What is shown in place of a log line that the server withholds.
WITHHELD = "a log line: reading it needs the permission logs:read"
#: The colours of log lines that a person should not miss.
LOUD = {"warning": "yellow", "error": "red", "critical": "red"}


class LineDisplay:
    """For pipes and files: a line for each event, without colour."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._width = max((len(name) for name in view.rows), default=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def show(self, frame: Frame) -> None:
        """See `Display`."""
        self.say(self._line(frame))

    def say(self, text: str) -> None:
        """See `Display`."""
        click.echo(text)

    def _line(self, frame: Frame) -> str:
        if frame["kind"] == "gap":
            return f"{'':13}  (events {frame['from']} to {frame['to']} are kept no more)"
        at = clock(str(frame["at"]))
        if frame["kind"] == "run":
            return f"{at}  run {frame['state']}"
        name = f"{frame.get('node_id') or '-':<{self._width}}"
        if frame["kind"] == "log":
            level = str(frame.get("level", "info"))
            loud = f"{level}: " if level in LOUD else ""
            return f"{at}  {name}  | {loud}{said(frame)}"
        return f"{at}  {name}  {move_text(frame)}".rstrip()


def log_text(line: Frame, *, dated: bool = False) -> str:
    """Return a log line among others of its kind."""
    at = (moment if dated else clock)(str(line["at"])) if line.get("at") else ""
    where = click.style(str(line.get("node_id") or "-"), fg="cyan")
    level = str(line.get("level", "info"))
    loud = click.style(f"{level} ", fg="yellow") if level not in {"info", "debug"} else ""
    return f"{at}  {where}  {loud}{said(line)}"


def said(frame: Frame) -> str:
    """Return the text of a log line, fit for a terminal."""
    if frame.get("withheld"):
        return f"({WITHHELD})"
    return clean(frame.get("message", ""))


def move_text(frame: Frame) -> str:
    """Return a move of a task in a few words."""
    state = str(frame["state"])
    tried = f" (attempt {frame['attempt']})" if (frame.get("attempt") or 0) > 1 else ""
    why = clean(note(frame))
    return f"{state}{tried}{': ' + why if why else ''}"
