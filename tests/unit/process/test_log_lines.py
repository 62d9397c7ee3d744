"""Log lines of processes: one record is one line, and nothing in it steers a terminal."""

from __future__ import annotations

import json
import logging

from orchestrator.process.log_lines import JsonLine, PlainLine

HOSTILE = "a\x1b[2J\x9b\u202e\nINFO forged: line"
SHOWN = "a\\x1b[2J\\x9b\\u202e\\nINFO forged: line"


def record(message: str, error: Exception | None = None) -> logging.LogRecord:
    """Return a record with the traceback of an error."""
    info = (type(error), error, None) if error else None
    return logging.LogRecord("zq", logging.INFO, __file__, 1, message, None, info)


def test_a_plain_line_is_one_line() -> None:
    shown = PlainLine("%(levelname)s %(name)s: %(message)s").format(record(HOSTILE))
    assert shown == f"INFO zq: {SHOWN}"


def test_a_traceback_is_set_in_and_forges_no_line() -> None:
    shown = PlainLine("%(levelname)s %(message)s").format(record("oh", ValueError(HOSTILE)))
    first, *rest = shown.split("\n")
    assert first == "INFO oh"
    assert rest == ["  ValueError: a\\x1b[2J\\x9b\\u202e", "  INFO forged: line"]


def test_a_json_line_says_it_whole() -> None:
    assert json.loads(JsonLine().format(record(HOSTILE)))["msg"] == HOSTILE
