"""`wait`: parks the task for some seconds or until a time; no worker is held meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.models.runs.task import Outcome, Value, Wait
from workers.handlers.config import bad_config, kind_of, read
from workers.handlers.context import Context

MAX_SECONDS = 31_536_000.0


def run(config: Mapping[str, Any], context: Context) -> Outcome:
    """Return a Wait on the first call and `{"waited_s"}` on the second.

    Nothing to wait for (0 seconds, a time gone by) is a value at once.
    """
    if context.resumed is None and (seconds := _seconds(config, context.now)) > 0:
        return Wait(seconds=seconds)
    waited_s = (context.now - context.started_at).total_seconds()
    return Value(output={"waited_s": round(max(0.0, waited_s), 3)})


def _seconds(config: Mapping[str, Any], now: datetime) -> float:
    if config.get("until") is None:
        field, seconds = "seconds", read(config, "seconds", float, 0.0)
    else:
        field, seconds = "until", (_time(config["until"]) - now).total_seconds()
    if not seconds <= MAX_SECONDS:
        raise bad_config(field, "is more than a year away")
    if field == "seconds" and seconds < 0:
        raise bad_config(field, f"{seconds:g} is below 0")
    return seconds


def _time(value: Any) -> datetime:
    if not isinstance(value, str):
        raise bad_config(
            "until", f"needs an RFC 3339 time, but its expression gave {kind_of(value)}"
        )
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise bad_config(
            "until", f"{value[:60]!r} is no RFC 3339 time like 2026-01-31T08:00:00Z"
        ) from None
    if at.tzinfo is None:
        raise bad_config("until", f"{value[:60]!r} has no time zone; add Z or +01:00")
    return at
