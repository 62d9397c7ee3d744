"""`Retry-After` (RFC 9110): seconds, or an HTTP-date in any of its three forms."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Nobody is believed who asks for more.
MAX_S = 3600.0
_SECONDS = re.compile(r"[0-9]+\Z")


def seconds(asked: str, now: datetime) -> float | None:
    """Return how long a server asks to wait, 0 to an hour; None when it cannot be read."""
    asked = asked.strip()
    if _SECONDS.match(asked):
        return min(float(asked[:12]), MAX_S)
    try:
        at = parsedate_to_datetime(asked)
        # asctime's form has no zone and `-0000` is none; HTTP-dates are UTC.
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return min(max((at - now).total_seconds(), 0.0), MAX_S)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
