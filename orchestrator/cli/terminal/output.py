"""What `zq` prints: tables, JSON, YAML on stdout; errors on stderr; colour on terminals only."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from orchestrator.errors import InvalidDefinition, ZQError

STATE_COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "timed_out": "red",
    "lost": "red",
    "running": "cyan",
    "queued": "blue",
    "ready": "blue",
    "waiting": "yellow",
    "retrying": "yellow",
    "paused": "yellow",
    "cancelling": "magenta",
    "cancelled": "magenta",
    "skipped": "bright_black",
    "pending": "bright_black",
}
#: Control characters would let a log line or a name steer the reader's terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

#: From here on work is shown as a progress bar.
_MANY = 5


def coloured(stream: Any = None) -> bool:
    """Whether a stream takes colour: a terminal, and NO_COLOR is not set."""
    stream = stream or sys.stdout
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")


def say(text: str = "", *, err: bool = False) -> None:
    """Print one line; colour is taken out where it does not belong."""
    stream = sys.stderr if err else sys.stdout
    click.echo(text, err=err, color=coloured(stream))


def clean(text: Any) -> str:
    """Return text without control characters, safe to print."""
    return _CONTROL.sub("�", str(text)).replace("\n", " ")


def state(name: str) -> str:
    """Return a state's name in its colour."""
    return click.style(name, fg=STATE_COLOURS.get(name))


def duration(milliseconds: float | None) -> str:
    """Return a length of time as people read it: `850 ms`, `12.4 s`, `3 m 05 s`, `2 h 10 m`."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest_s:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} m"


def ago(at: str | None, now: datetime | None = None) -> str:
    """Return how long ago an RFC 3339 time was."""
    if not at:
        return ""
    past = (now or datetime.now(UTC)) - datetime.fromisoformat(at)
    return f"{duration(max(0.0, past.total_seconds()) * 1000)} ago"


def table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> Iterable[str]:
    """Yield the lines of a table; columns are as wide as their widest cell, colour not counted."""
    cells = [[c.upper() for c in columns], *rows]
    widths = [max(len(click.unstyle(row[i])) for row in cells) for i in range(len(columns))]
    for row in cells:
        padded = (c + " " * (w - len(click.unstyle(c))) for c, w in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def show(
    shape: str,
    value: Any,
    columns: Mapping[str, Callable[[Any], Any]],
    *,
    empty: str = "",
) -> None:
    """Print a list (or one thing) in the wanted shape. `columns` are heading -> cell of an item."""
    lines = printed(shape, value, columns)
    for line in lines:
        say(line)
    if not lines and empty:
        say(empty, err=True)


def printed(shape: str, value: Any, columns: Mapping[str, Callable[[Any], Any]]) -> list[str]:
    """Return the lines of `show`; an empty list has no table."""
    if shape == "json":
        return [json.dumps(value, indent=2, ensure_ascii=False)]
    if shape == "yaml":
        return [as_yaml(value).rstrip()]
    items = value if isinstance(value, list) else [value]
    if not items:
        return []
    rows = [[_cell(column(item)) for column in columns.values()] for item in items]
    return list(table(rows, list(columns)))


def show_one(shape: str, value: Any, line: str) -> None:
    """Print what became of one thing: a line for people, or the whole of it."""
    if shape == "table":
        say(line)
    else:
        show(shape, value, {})


def show_line(shape: str, value: Any, line: str) -> None:
    """Print one thing of a stream: a line for people, a line of JSON, or a YAML document."""
    if shape == "json":
        line = json.dumps(value, ensure_ascii=False)
    elif shape == "yaml":
        line = f"---\n{as_yaml(value).rstrip()}"
    say(line)


T = TypeVar("T")


@contextlib.contextmanager
def progress(items: Sequence[T], label: str) -> Iterator[Iterable[T]]:
    """Give the items back with a progress bar on stderr, if that is a terminal and it is many."""
    if len(items) < _MANY or not sys.stderr.isatty():
        yield items
        return
    with click.progressbar(items, label=label, file=sys.stderr) as bar:
        yield bar


def as_yaml(value: Any) -> str:
    """Return a JSON value as YAML, in the order of its keys."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def warn(text: str) -> None:
    """Print a line on stderr that something is not as it should be."""
    say(click.style("warning: ", fg="yellow") + text, err=True)


def complain(error: ZQError) -> None:
    """Print an error on stderr: one line, then one line for each problem."""
    say(click.style("error: ", fg="red", bold=True) + error.detail, err=True)
    for problem in _problems(error):
        where = ", ".join(str(part) for part in (problem.get("path"), problem.get("node")) if part)
        say(f"  {where or '$'}: {problem.get('message')}", err=True)


def _problems(error: ZQError) -> Iterable[Mapping[str, Any]]:
    if isinstance(error, InvalidDefinition):
        return [{"path": p.path, "node": p.node, "message": p.message} for p in error.problems]
    found: Iterable[Mapping[str, Any]] = getattr(error, "problems", ())
    return found
