"""Requests counted in Redis, for the package `limits`: one round trip, answered with what is left.

Its own Redis storage asks three times for that. Of a large limit a process takes a thousandth at
once and spends it without asking. With Redis away nothing is counted here, but for the classes that
are named strict: those count in the memory of each process.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any

from limits.storage import MemoryStorage, Storage

from orchestrator.adapters.redis.connection import Connection

#: Of the URI by which `limits` finds this storage.
SCHEME = "zq-redis"
#: Of a limit of so many a process takes the part at once that is this many times smaller.
_BLOCKS = 1000
#: Windows of which a process holds a part at most.
_HELD = 10_000
#: What Redis takes for a pattern in `SCAN`.
_GLOB, _LITERAL = re.compile(r"[*?\[\\]"), r"\\\g<0>"
_HIT = """
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    left = tonumber(ARGV[2])
end
return {count, left}
"""


class RedisWindows(Storage):
    """Answers `limits.storage.Storage` for fixed windows. Safe to share between threads."""

    STORAGE_SCHEME = [SCHEME]  # noqa: RUF012 (so declared by `limits`)

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        *,
        url: str,
        prefix: str,
        timeout_s: float,
        processes: int = 1,
        strict: tuple[str, ...] = (),
        **_: Any,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._redis = Connection(url, timeout_s, without="only sign-ins are limited")
        self._client = self._redis.client
        self._hit = self._client.register_script(_HIT)
        self._prefix = f"{prefix}limit:"
        self._local = MemoryStorage()
        self._processes = max(1, processes)
        self._strict = tuple(f"/{name}/" for name in strict)
        self._lock = threading.Lock()
        #: Of each window: the last count that was given out, the last that was taken, its end.
        self._held: dict[str, tuple[int, int, float]] = {}
        #: (key, count, moment of the window's end) of this thread's last hit.
        self._last = threading.local()

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """Return what this raises: nothing."""
        return ()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count a request; return how many there were in the window that is open."""
        block = max(amount, int(key.rsplit("/", 3)[1]) // _BLOCKS)
        if block > amount and (found := self._spend(key, amount)):
            return found
        keys, args = [self._prefix + key], [block, expiry * 1000]
        told: Any = self._redis.attempt(lambda: self._hit(keys=keys, args=args))
        if told is None:
            return self._count_here(key, expiry, amount)
        last, ends_at = int(told[0]), time.time() + int(told[1]) / 1000
        count = last - block + amount
        if block > amount:
            self._hold(key, count, last, ends_at)
        self._last.seen = key, count, ends_at
        return count

    def _spend(self, key: str, amount: int) -> int:
        """Count from what was taken before; 0 when there is not enough."""
        with self._lock:
            held = self._held.get(key)
            if held is None or held[0] + amount > held[1] or held[2] <= time.time():
                return 0
            count = held[0] + amount
            self._held[key] = count, held[1], held[2]
        self._last.seen = key, count, held[2]
        return count

    def _hold(self, key: str, count: int, last: int, ends_at: float) -> None:
        with self._lock:
            if len(self._held) >= _HELD:
                self._held.clear()
            self._held[key] = count, last, ends_at

    def _count_here(self, key: str, expiry: int, amount: int) -> int:
        if not any(name in key for name in self._strict):
            self._last.seen = key, 0, 0.0
            return 0
        # As if all processes had seen as many: together they let no more through than Redis did.
        count = self._local.incr(key, expiry, amount * self._processes)
        self._last.seen = key, count, self._local.get_expiry(key)
        return count

    def get(self, key: str) -> int:
        """Return the count of this thread's last hit."""
        seen = getattr(self._last, "seen", None)
        return int(seen[1]) if seen and seen[0] == key else 0

    def get_expiry(self, key: str) -> float:
        """Return the end of that hit's window, in seconds since 1970; 0 when it was not counted."""
        seen = getattr(self._last, "seen", None)
        return float(seen[2]) if seen and seen[0] == key else 0.0

    def check(self) -> bool:
        """Tell whether Redis answers."""
        return self._redis.ping()

    def reset(self) -> int | None:
        """Forget every window, here and in Redis; return how many there were."""
        with self._lock:
            self._held.clear()
        keys = list(self._client.scan_iter(f"{_GLOB.sub(_LITERAL, self._prefix)}*"))
        return int(self._client.delete(*keys)) if keys else 0

    def clear(self, key: str) -> None:
        """Forget one window, here and in Redis."""
        with self._lock:
            self._held.pop(key, None)
        self._client.delete(self._prefix + key)
