"""What `zq` prints: tables, JSON, YAML on stdout; errors on stderr; colour on terminals only."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from orchestrator.errors import InvalidDefinition, ZQError
from orchestrator.models.escaping import escaped, escaped_json

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
#: What is never cut: an id that is not whole is of no use.
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: A column is not cut to less than this, but left out.
_LEAST = 4
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
    """Return text in one line that cannot steer the reader's terminal: controls are escaped."""
    return escaped(str(text))


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


def table(
    rows: Sequence[Sequence[str]], columns: Sequence[str], width: int | None = None
) -> Iterable[str]:
    """Yield the lines of a table; columns are as wide as their widest cell, colour not counted.

    Where `width` is less, the widest columns are cut, and those at the right left out; ids stay.
    """
    cells = [[c.upper() for c in columns], *rows]
    widths = [max(len(click.unstyle(row[i])) for row in cells) for i in range(len(columns))]
    whole = {i for i in range(len(columns)) if any(_ID.search(row[i]) for row in rows)}
    if width is not None:
        _narrow(widths, whole, width)
    for row in cells:
        shown = (_padded(c, w) for c, w in zip(row, widths, strict=True) if w)
        yield "  ".join(shown).rstrip()


def _narrow(widths: list[int], whole: set[int], width: int) -> None:
    """Make columns fit, from the widest and the right; a width of 0 leaves a column out."""
    while sum(widths) + 2 * (sum(map(bool, widths)) - 1) > width:
        free = [i for i, w in enumerate(widths) if w and i not in whole]
        if not free:
            return
        widest = max(free, key=lambda i: (widths[i], i))
        if widths[widest] > _LEAST:
            widths[widest] -= 1
        else:
            widths[free[-1]] = 0


def _padded(cell: str, width: int) -> str:
    bare = click.unstyle(cell)
    if len(bare) > width:
        cell = cell.replace(bare, f"{bare[: width - 1]}…")
    return cell + " " * (width - len(bare))


def _width() -> int | None:
    """Return the width of the terminal, or what COLUMNS says; None where lines may be long."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        return None
    return shutil.get_terminal_size().columns or None


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
        return [as_json(value, indent=2)]
    if shape == "yaml":
        return [as_yaml(value).rstrip()]
    items = value if isinstance(value, list) else [value]
    if not items:
        return []
    rows = [[_cell(column(item)) for column in columns.values()] for item in items]
    return list(table(rows, list(columns), _width()))


def show_one(shape: str, value: Any, line: str) -> None:
    """Print what became of one thing: a line for people, or the whole of it."""
    if shape == "table":
        say(line)
    else:
        show(shape, value, {})


def show_line(shape: str, value: Any, line: str) -> None:
    """Print one thing of a stream: a line for people, a line of JSON, or a YAML document."""
    if shape == "json":
        line = as_json(value)
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


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Return a JSON value as text that cannot steer a terminal and says the same."""
    return escaped_json(json.dumps(value, indent=indent, ensure_ascii=False))


def as_yaml(value: Any) -> str:
    """Return a JSON value as YAML, in the order of its keys; it cannot steer a terminal either."""
    import yaml

    text = json.dumps(value, ensure_ascii=False)
    plain = escaped_json(text) == text
    made: str = yaml.safe_dump(
        value, sort_keys=False, allow_unicode=plain, default_flow_style=False
    )
    return made


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def warn(text: str) -> None:
    """Print a line on stderr that something is not as it should be."""
    say(click.style("warning: ", fg="yellow") + text, err=True)


def complain(error: ZQError) -> None:
    """Print an error on stderr: one line, then one line for each problem."""
    say(click.style("error: ", fg="red", bold=True) + clean(error.detail), err=True)
    for problem in _problems(error):
        where = ", ".join(str(part) for part in (problem.get("path"), problem.get("node")) if part)
        say(f"  {clean(where or '$')}: {clean(problem.get('message'))}", err=True)


def _problems(error: ZQError) -> Iterable[Mapping[str, Any]]:
    if isinstance(error, InvalidDefinition):
        return [{"path": p.path, "node": p.node, "message": p.message} for p in error.problems]
    found: Iterable[Mapping[str, Any]] = getattr(error, "problems", ())
    return found
