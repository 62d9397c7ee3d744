"""What processes tell each other about sessions, in Redis: marks, counts and socket tickets.

Every key has a TTL. While Redis is away the record decides, and each process counts for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.adapters.redis.connection import Connection
from orchestrator.errors import ChannelUnavailable

# The window begins with the first count and is not prolonged: the key's own TTL is its end.
_COUNT = """
local count = redis.call('INCR', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    left = tonumber(ARGV[1])
end
return {count, left}
"""
_GIVE_BACK = """
if tonumber(redis.call('GET', KEYS[1]) or '0') > 0 then
    redis.call('DECR', KEYS[1])
end
"""


class RedisSessions:
    """Answers `ports.access.AccessCache`. Safe to share between threads."""

    def __init__(self, url: str, *, prefix: str, timeout_s: float) -> None:
        self._redis = Connection(url, timeout_s, without="the record decides on sessions")
        self._client = self._redis.client
        self._prefix = f"{prefix}access:"
        self._counter = self._client.register_script(_COUNT)
        self._giver = self._client.register_script(_GIVE_BACK)

    def marks(self, ids: Sequence[str]) -> tuple[str, ...] | None:
        """See the port. One round trip."""
        if not ids:
            return ()
        names = [self._name("mark", one) for one in ids]
        found: Any = self._redis.attempt(lambda: self._client.mget(names))
        return None if found is None else tuple(_text(value) for value in found)

    def mark(self, ids: Sequence[str], value: str, *, ttl_s: float) -> None:
        """See the port. One round trip."""

        def work() -> bool:
            with self._client.pipeline(transaction=False) as pipe:
                for one in ids:
                    pipe.set(self._name("mark", one), value, px=_ms(ttl_s))
                pipe.execute()
            return True

        self._redis.attempt(work)

    def count(self, key: str, *, window_s: float) -> tuple[int, float] | None:
        """See the port."""
        keys = [self._name("count", key)]
        found: Any = self._redis.attempt(lambda: self._counter(keys=keys, args=[_ms(window_s)]))
        return None if found is None else (int(found[0]), int(found[1]) / 1000)

    def forget(self, key: str) -> None:
        """See the port."""
        self._redis.attempt(lambda: self._client.delete(self._name("count", key)))

    def give_back(self, key: str) -> None:
        """See the port."""
        self._redis.attempt(lambda: self._giver(keys=[self._name("count", key)]))

    def put_ticket(self, digest: str, value: str, *, ttl_s: float) -> None:
        """See the port."""
        name = self._name("ticket", digest)
        if not self._redis.attempt(lambda: self._client.set(name, value, px=_ms(ttl_s))):
            raise ChannelUnavailable

    def take_ticket(self, digest: str) -> str | None:
        """See the port."""
        name = self._name("ticket", digest)
        # In a list, so that "no such ticket" is not taken for "Redis is away".
        found: Any = self._redis.attempt(lambda: [self._client.getdel(name)])
        if found is None:
            raise ChannelUnavailable
        return None if found[0] is None else _text(found[0])

    def _name(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}:{name}"


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
