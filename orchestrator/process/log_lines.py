"""Log lines: JSON when nobody watches, one readable line each on a terminal. No line a request."""

from __future__ import annotations

import logging
import logging.config
import sys
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson

from orchestrator.models.escaping import escaped
from orchestrator.models.runs.event import rfc3339

#: What may be passed as `extra` and is kept.
FIELDS = ("tenant", "workflow", "version", "run_id", "node_id", "request_id", "worker")


#: A line a request, and two a message: what happens is in the record, and in Flower. For DEBUG.
_TALKATIVE = ("gunicorn.access", "celery.worker.strategy", "celery.app.trace")


class JsonLine(logging.Formatter):
    """One JSON object a line, so that no value can start a second one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "ts": rfc3339(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            "logger": record.name,
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None))}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class PlainLine(logging.Formatter):
    """A line that a person reads: what it tells can neither begin another nor steer a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """Return the line without its traceback."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's own name
        """Return a traceback, set in."""
        return "\n".join(f"  {escaped(line)}" for line in super().formatException(ei).split("\n"))


def set_up(level: str) -> None:
    """Configure this process's logging, once, at its start."""
    logging.config.dictConfig(config(level))


def config(level: str) -> dict[str, Any]:
    """Return the configuration of logging for any process of the product."""
    plain = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    shape = {"()": PlainLine, "fmt": plain} if sys.stderr.isatty() else {"()": JsonLine}
    quiet = {"level": level, "handlers": [], "propagate": True}
    rare = MappingProxyType({"level": "DEBUG" if level == "DEBUG" else "WARNING"})
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": shape},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {"gunicorn.error": quiet, **dict.fromkeys(_TALKATIVE, rare)},
    }
