"""One way to connect to Redis, and to do without it: a dead one costs one timeout, not each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

log = logging.getLogger(__name__)
T = TypeVar("T")


def connect(url: str, timeout_s: float) -> redis.Redis:
    """Return a client that connects with the first command.

    Connecting and answering share the time; only a connection found broken is made anew.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s / 2,
        socket_connect_timeout=timeout_s / 2,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


class Connection:
    """A client for what may go without Redis. Safe to share between threads."""

    def __init__(self, url: str, timeout_s: float, *, without: str) -> None:
        """`without` says, in the log, what becomes of things while Redis is away."""
        self.client = connect(url, timeout_s)
        self._without = without
        self._rest_s = max(1.0, timeout_s)
        #: Until then (monotonic) Redis is not asked.
        self._away_until = 0.0

    def attempt(self, work: Callable[[], T]) -> T | None:
        """Return what a command returns; None while Redis is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            return work()
        except (redis.RedisError, OSError) as error:
            self._away_until = time.monotonic() + self._rest_s
            log.warning("Redis is away, %s: %s", self._without, error)
            return None

    def ping(self) -> bool:
        """Tell whether Redis answers."""
        try:
            return bool(self.client.ping())
        except (redis.RedisError, OSError):
            return False
