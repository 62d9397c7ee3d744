"""CSV as rows. A cell becomes a number only where the number, written again, is the same text."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from orchestrator.errors import HandlerError

#: Whole answers may be one cell.
csv.field_size_limit(16 * 1024 * 1024)
_INT64 = 2**63
#: All whole numbers up to here are floats too.
_EXACT = 2**53
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})\Z")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+\Z")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?\Z")
_BOOLEANS = {"true": True, "false": False}
#: A line that no file holds: it is read as one unless a quote before it is still open.
_END = "\0end of the answer\0"

Column = list[str | None]
Bad = Callable[[str], HandlerError]


@dataclass(frozen=True, slots=True)
class Options:
    """How CSV is read: the config's `csv`."""

    #: For all columns, or by a column's name; columns that are not named are `auto`.
    types: Literal["auto", "none"] | Mapping[str, str] = "auto"
    #: None: a tab for text/tab-separated-values, else a comma.
    delimiter: str | None = None
    #: Whether the first line holds the names; else the names, or none: c1, c2, and so on.
    header: bool | tuple[str, ...] = True


def options(given: Mapping[str, Any]) -> Options:
    """Return the options of a config's `csv`, which fits its schema."""
    header = given.get("header", True)
    return Options(
        types=given.get("types", "auto"),
        delimiter=given.get("delimiter"),
        header=tuple(header) if isinstance(header, list) else header,
    )


@dataclass(slots=True)
class _Table:
    names: list[str]
    lines: list[Column] = field(default_factory=list)


def rows(text: str, how: Options, delimiter: str, bad: Bad) -> list[dict[str, Any]]:
    """Return the lines of a CSV text as objects by the names of its columns.

    A column's cells are of one type, and empty ones of a column that is no text are null. Short
    lines are filled with null. What `bad` makes of the reason is raised for a line that is too
    long, a name that comes twice, a quote that is never closed, and a cell that is not of the
    type its column was given.
    """
    table = _read(text, how, how.delimiter or delimiter, bad)
    types = how.types if isinstance(how.types, Mapping) else {}
    for name in types:
        if name not in table.names:
            raise bad(f"the CSV has no column {name[:60]!r}, which config.csv.types names")
    columns: list[list[Any]] = []
    for no, name in enumerate(table.names):
        cells = [line[no] for line in table.lines]
        if name in types:
            columns.append(_typed(cells, types[name], name, bad))
        else:
            columns.append(list(cells) if how.types == "none" else _guessed(cells))
    return [dict(zip(table.names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _read(text: str, how: Options, delimiter: str, bad: Bad) -> _Table:
    source: Iterable[str] = chain(io.StringIO(text, newline=""), [_END])
    reader = csv.reader(source, delimiter=delimiter)
    table = _Table(list(how.header) if isinstance(how.header, tuple) else [])
    waiting = how.header is True
    ended = False
    try:
        for line in filter(None, reader):
            if ended := line == [_END]:
                break
            if waiting:
                table.names, waiting = line, False
                continue
            if how.header is False and not table.names:
                table.names = [f"c{no}" for no in range(1, len(line) + 1)]
            size = len(table.names)
            if len(line) > size:
                why = f"line {reader.line_num} of the CSV has {len(line)} cells for {size} columns"
                raise bad(why)
            table.lines.append([*line, *[None] * (size - len(line))])
    except csv.Error as error:
        raise bad(f"line {reader.line_num} of the CSV: {error}") from None
    if not ended:
        raise bad("the CSV opens a quote that it never closes")
    if len(set(table.names)) != len(table.names):
        twice = next(name for name in table.names if table.names.count(name) > 1)
        raise bad(f"the CSV has two columns called {twice[:60]!r}")
    return table


def _guessed(cells: Column) -> list[Any]:
    filled = [cell for cell in cells if cell]
    if filled and all(map(_is_whole, filled)):
        return [int(cell) if cell else None for cell in cells]
    if filled and all(map(_is_exact, filled)):
        return [float(cell) if cell else None for cell in cells]
    return list(cells)


def _is_whole(cell: str) -> bool:
    return bool(_WHOLE.match(cell)) and cell != "-0" and -_INT64 <= int(cell) < _INT64


def _is_exact(cell: str) -> bool:
    """Whether a cell, as a float, is the number that stands there and reads like it."""
    if _DECIMAL.match(cell):
        return repr(float(cell)) == cell
    return _is_whole(cell) and abs(int(cell)) <= _EXACT


def _typed(cells: Column, type_: str, name: str, bad: Bad) -> list[Any]:
    if type_ == "string":
        return list(cells)
    typed: list[Any] = []
    for no, cell in enumerate(cells, 1):
        value = _value(cell, type_) if cell else None
        if cell and value is None:
            article = "an" if type_ == "integer" else "a"
            why = f"row {no}, column {name[:60]!r}: {cell[:60]!r} is not {article} {type_}"
            raise bad(why)
        typed.append(value)
    return typed


def _value(cell: str, type_: str) -> Any:
    if type_ == "boolean":
        return _BOOLEANS.get(cell.lower())
    if type_ == "integer":
        return int(cell) if _WHOLE.match(cell) and -_INT64 <= int(cell) < _INT64 else None
    number = float(cell) if _NUMBER.match(cell) else math.inf
    return number if math.isfinite(number) else None
