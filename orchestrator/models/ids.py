"""UUIDv7 identifiers: they sort by creation time, so partitions by id are partitions by time."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from uuid import UUID

_lock = threading.Lock()
_last = 0

#: Owner of every row until tenants are used.
DEFAULT_TENANT = UUID("00000000-0000-7000-8000-000000000001")


def uuid7(now: datetime) -> UUID:
    """Return an id that is larger than every id this process made before.

    Layout as RFC 9562: 48 bits of Unix milliseconds, then 12 bits of sub-millisecond order and 62
    random bits. Only one process's ids are ordered: two may interleave within a millisecond.
    """
    global _last
    stamp = int(now.timestamp() * 1000) << 12 | now.microsecond % 1000 * 4
    with _lock:
        _last = stamp = max(stamp, _last + 1)
    random = int.from_bytes(os.urandom(8)) & (1 << 62) - 1
    value = (stamp >> 12 & (1 << 48) - 1) << 80 | 7 << 76 | (stamp & 0xFFF) << 64 | 2 << 62 | random
    return UUID(int=value)


def lowest_uuid7(at: datetime) -> UUID:
    """Return the smallest id that can be made at `at` or later: the bound of a partition."""
    return UUID(int=(int(at.timestamp() * 1000) << 80) | 7 << 76 | 2 << 62)


def time_of(value: UUID) -> datetime:
    """Return the moment, to the millisecond, at which a UUIDv7 was made."""
    return datetime.fromtimestamp((value.int >> 80) / 1000, UTC)
