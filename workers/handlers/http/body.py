"""From the bytes of an HTTP answer to a JSON value: JSON, text, or the rows of a CSV file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from orchestrator.errors import HandlerError
from workers.handlers.http import csv_rows

_INT64 = 2**63
#: From so many digits on, a whole number may be larger than 64 bits.
_LONG = re.compile(rb"[0-9]{19}")


@dataclass(frozen=True, slots=True)
class Reading:
    """How an answer's bytes are read."""

    #: auto, json, text or csv.
    how: str
    #: "": the one that the answer names, else UTF-8.
    charset: str
    csv: csv_rows.Options


def parse(data: bytes, headers: httpx.Headers, reading: Reading) -> Any:
    """Return the body's value. `auto` goes by content type: JSON, CSV, or text.

    An empty body is None, unless text was asked for. HandlerError `bad_response` when the bytes
    are not what they should be.
    """
    kind, named = _content_type(headers)
    charset = reading.charset or named
    how = _guess(kind) if reading.how == "auto" else reading.how
    if not data:
        return "" if how == "text" else None
    if how == "json":
        return _json(data, charset)
    text = _text(data, charset)
    if how == "csv":
        delimiter = "\t" if kind.endswith("tab-separated-values") else ","
        return csv_rows.rows(text, reading.csv, delimiter, bad_response)
    return text


def some_text(data: bytes, headers: httpx.Headers) -> str:
    """Return the beginning of an answer as text, whatever its bytes are."""
    try:
        return data.decode(_content_type(headers)[1], "replace")
    except (LookupError, ValueError):
        return data.decode("utf-8", "replace")


def _guess(kind: str) -> str:
    if kind in {"application/json", "text/json"} or kind.endswith("+json"):
        return "json"
    return "csv" if kind in {"text/csv", "text/tab-separated-values"} else "text"


def _content_type(headers: httpx.Headers) -> tuple[str, str]:
    kind, _, rest = headers.get("content-type", "").partition(";")
    found = re.search(r"charset=[\"']?([A-Za-z0-9_.:-]+)", rest, re.IGNORECASE)
    return kind.strip().lower(), found[1] if found else "utf-8"


def _json(data: bytes, charset: str) -> Any:
    """Whole numbers of more than 64 bits, which no output holds, become the text of their digits:
    as floats, two of them could become one."""
    if charset.lower() not in {"utf-8", "utf8", "us-ascii", "ascii"}:
        data = _text(data, charset).encode("utf-8", "surrogatepass")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        value = orjson.loads(data)
        return json.loads(data, parse_int=_whole) if _LONG.search(data) else value
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise bad_response(f"the answer is no JSON ({error}): {_start(data)}") from None


def _whole(digits: str) -> int | str:
    if len(digits) <= 20 and -_INT64 <= (number := int(digits)) < _INT64:
        return number
    return digits


def _text(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset).removeprefix("\ufeff")
    except LookupError:
        raise bad_response(f"the answer has the unknown charset {charset[:40]}") from None
    except ValueError:
        # Not only UnicodeDecodeError: some codecs raise what is above it.
        why = f"the answer is no text in {charset}; fetch binary files with a python function"
        raise bad_response(why) from None


def bad_response(why: str) -> HandlerError:
    """Return the error of an answer that cannot be read; the next attempt may get a better one."""
    return HandlerError("bad_response", why)


def _start(data: bytes) -> str:
    return repr(data[:200].decode("utf-8", "replace"))
