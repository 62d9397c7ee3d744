"""Open sockets counted in Redis over all processes: leases that end by themselves.

A sorted set a tenant and one a principal hold the lease ids by the moment they end, so a process
that dies gives its sockets back within a minute.
"""

from __future__ import annotations

import logging
from uuid import UUID

from orchestrator.adapters.redis.connection import Connection

log = logging.getLogger(__name__)

#: How long a lease lasts without being renewed, seconds.
LEASE_S = 60
# Judged by Redis' own clock: those of the processes may differ.
_TAKE = """
local now = tonumber(redis.call('TIME')[1])
for at = 1, 2 do
    redis.call('ZREMRANGEBYSCORE', KEYS[at], '-inf', now)
    local most = tonumber(ARGV[at + 1])
    if most > 0 and redis.call('ZCARD', KEYS[at]) >= most then
        return at
    end
end
for at = 1, 2 do
    redis.call('ZADD', KEYS[at], now + ARGV[4], ARGV[1])
    redis.call('EXPIRE', KEYS[at], ARGV[4])
end
return 0
"""
_RENEW = """
local now = tonumber(redis.call('TIME')[1])
for at = 1, 2 do
    redis.call('ZADD', KEYS[at], now + ARGV[2], ARGV[1])
    redis.call('EXPIRE', KEYS[at], ARGV[2])
end
"""
_HELD = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1])
return redis.call('ZCARD', KEYS[1])
"""
_LIMITS = (None, "tenant", "principal")


class RedisSockets:
    """Answers `ports.quotas.SocketLeases`. Safe to share between threads."""

    def __init__(self, url: str, *, prefix: str, timeout_s: float) -> None:
        self._redis = Connection(url, timeout_s, without="sockets are not counted")
        self._client = self._redis.client
        self._prefix = f"{prefix}sockets:"
        self._take = self._client.register_script(_TAKE)
        self._renew = self._client.register_script(_RENEW)
        self._count = self._client.register_script(_HELD)

    def take(
        self, lease_id: UUID, tenant_id: UUID, principal_id: UUID, *, tenant: int, principal: int
    ) -> str | None:
        """See the port."""
        keys = self._keys(tenant_id, principal_id)
        args: list[str | int] = [str(lease_id), tenant, principal, LEASE_S]
        return _LIMITS[int(self._redis.attempt(lambda: self._take(keys=keys, args=args)) or 0)]

    def renew(self, lease_id: UUID, tenant_id: UUID, principal_id: UUID) -> None:
        """See the port."""
        keys = self._keys(tenant_id, principal_id)
        self._redis.attempt(lambda: self._renew(keys=keys, args=[str(lease_id), LEASE_S]))

    def drop(self, lease_id: UUID, tenant_id: UUID, principal_id: UUID) -> None:
        """See the port."""

        def work() -> None:
            with self._client.pipeline(transaction=False) as pipe:
                for key in self._keys(tenant_id, principal_id):
                    pipe.zrem(key, str(lease_id))
                pipe.execute()

        self._redis.attempt(work)

    def held(self, tenant_id: UUID) -> int:
        """See the port."""
        key = self._keys(tenant_id, tenant_id)[0]
        return int(self._redis.attempt(lambda: self._count(keys=[key])) or 0)

    def _keys(self, tenant_id: UUID, principal_id: UUID) -> list[str]:
        return [f"{self._prefix}{tenant_id}", f"{self._prefix}{tenant_id}:{principal_id}"]
