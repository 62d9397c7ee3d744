"""How answers become JSON: orjson, UUIDs as text, times in RFC 3339 UTC with milliseconds."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from flask.json.provider import JSONProvider

from orchestrator.models.runs.event import rfc3339

# datetimes go through `_other`, since orjson would write microseconds and +00:00.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS


class OrjsonProvider(JSONProvider):
    """Flask's JSON by orjson. Reading bodies is `strict_json`'s alone."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Return compact JSON text."""
        return dump(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Return the value of a trusted text."""
        return orjson.loads(s)


def dump(value: Any) -> bytes:
    """Return compact JSON in UTF-8, integers of any length digit by digit."""
    try:
        return orjson.dumps(value, default=_other, option=_OPTIONS)
    except TypeError:
        # Integers beyond 64 bits, which orjson has not, and half characters, which stay escapes.
        return json.dumps(value, default=_plain, separators=(",", ":"), allow_nan=False).encode()


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else _other(value)


def _other(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
