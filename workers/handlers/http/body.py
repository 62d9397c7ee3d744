"""From the bytes of an HTTP answer to a JSON value: JSON, text, or the rows of a CSV file."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from typing import Any

import httpx
import orjson

from orchestrator.errors import HandlerError

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?\Z")


def parse(data: bytes, how: str, headers: httpx.Headers) -> Any:
    """Return the body's value. `auto` goes by content type: JSON, CSV, or text.

    An empty body is None, unless text was asked for. HandlerError `bad_response` when the bytes
    are not what they should be.
    """
    kind, charset = _content_type(headers)
    if how == "auto":
        how = _guess(kind)
    if not data:
        return "" if how == "text" else None
    if how == "json":
        return _json(data, charset)
    text = _text(data, charset)
    if how == "csv":
        return rows(text, "\t" if kind.endswith("tab-separated-values") else ",")
    return text


def _guess(kind: str) -> str:
    if kind in {"application/json", "text/json"} or kind.endswith("+json"):
        return "json"
    return "csv" if kind in {"text/csv", "text/tab-separated-values"} else "text"


def _content_type(headers: httpx.Headers) -> tuple[str, str]:
    kind, _, rest = headers.get("content-type", "").partition(";")
    found = re.search(r"charset=\"?([A-Za-z0-9_.:-]+)", rest, re.IGNORECASE)
    return kind.strip().lower(), found[1] if found else "utf-8"


def _json(data: bytes, charset: str) -> Any:
    try:
        if charset.lower() in {"utf-8", "utf8", "us-ascii", "ascii"}:
            return orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
        return orjson.loads(_text(data, charset))
    except orjson.JSONDecodeError as error:
        raise bad_response(f"the answer is no JSON ({error}): {_start(data)}") from None


def _text(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset).removeprefix("\ufeff")
    except LookupError:
        raise bad_response(f"the answer has the unknown charset {charset[:40]}") from None
    except UnicodeDecodeError:
        why = f"the answer is no text in {charset}; fetch binary files with a python function"
        raise bad_response(why) from None


def rows(text: str, delimiter: str = ",") -> list[dict[str, Any]]:
    """Return the lines of a CSV text as objects by the names of its first line.

    A column all of whose cells are numbers becomes numbers: integers, or floats as soon as one
    is; its empty cells become null. All other columns stay text ("007", "1,5" and "+1" are no
    numbers), so a column never mixes types. Short lines are filled with null. HandlerError
    `bad_response` for a line that is too long or a name that comes twice.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = next(reader, [])
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise bad_response(f"the CSV has two columns called {twice[:60]!r}")
        lines: list[list[str | None]] = []
        for line in filter(None, reader):
            if len(line) > len(names):
                raise bad_response(
                    f"line {reader.line_num} of the CSV has {len(line)} cells for"
                    f" {len(names)} columns"
                )
            lines.append([*line, *[None] * (len(names) - len(line))])
    except csv.Error as error:
        raise bad_response(f"line {reader.line_num} of the CSV: {error}") from None
    columns = [_column([line[no] for line in lines]) for no in range(len(names))]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _column(cells: list[str | None]) -> list[Any]:
    filled = [cell for cell in cells if cell]
    if not filled:
        return list(cells)
    convert: Callable[[str], Any]
    if all(map(_WHOLE.match, filled)):
        convert = int
    elif all(map(_NUMBER.match, filled)) and all(map(math.isfinite, map(float, filled))):
        convert = float
    else:
        return list(cells)
    return [convert(cell) if cell else None for cell in cells]


def bad_response(why: str) -> HandlerError:
    """Return the error of an answer that cannot be read; the next attempt may get a better one."""
    return HandlerError("bad_response", why)


def _start(data: bytes) -> str:
    return repr(data[:200].decode("utf-8", "replace"))
