"""Counting sign-ins that fail, by account and by address, before any password is looked at.

Counts are shared through the cache; while that is away each process counts for itself.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import IPv4Address, ip_address, ip_network

from orchestrator.errors import TooManyAttempts
from orchestrator.ports.access import AccessCache
from orchestrator.ports.runtime import Clock

#: Keys that a process keeps count of by itself; the oldest is forgotten.
_MOST_KEYS = 10_000


class Lockout:
    """Says when an account or address has to wait. Safe to share between threads.

    An attempt counts before it is checked, so many at once gain nothing. An account that does not
    exist is counted like any other.
    """

    def __init__(
        self,
        cache: AccessCache,
        clock: Clock,
        *,
        attempts: int,
        address_attempts: int,
        window_s: float,
    ) -> None:
        self._cache = cache
        self._attempts = attempts
        self._address_attempts = address_attempts
        self._window_s = window_s
        self._own = _Counts(clock)

    def attempt(self, account: str, address: str) -> None:
        """Count an attempt; TooManyAttempts (`retry_after_s`) when there were too many before."""
        limits = (
            (_key("address", _site(address)), self._address_attempts),
            (_key("account", account), self._attempts),
        )
        for key, most in limits:
            count, left_s = self._count(key)
            if count > most:
                raise TooManyAttempts(
                    "too many attempts to sign in; wait before the next one",
                    retry_after_s=max(1, math.ceil(left_s)),
                    first=count == most + 1,
                )

    def succeeded(self, account: str, address: str) -> None:
        """Forget what an account has got wrong. What others got wrong at the address stays.

        Otherwise whoever has one account could try others' passwords without end.
        """
        key = _key("account", account)
        self._cache.forget(key)
        self._own.forget(key)
        key = _key("address", _site(address))
        self._cache.give_back(key)
        self._own.give_back(key)

    def _count(self, key: str) -> tuple[int, float]:
        shared = self._cache.count(key, window_s=self._window_s)
        return shared or self._own.count(key, self._window_s)


def _site(address: str) -> str:
    """Return what one household has: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ip_network((int(found), 64), strict=False))


def _key(kind: str, name: str) -> str:
    """Names are what anybody sends: a digest bounds them, and keeps addresses out of the cache."""
    return f"{kind}:{sha256(name.encode('utf-8', 'replace')).hexdigest()[:32]}"


class _Counts:
    """Counts of this process alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, tuple[int, datetime]] = OrderedDict()

    def count(self, key: str, window_s: float) -> tuple[int, float]:
        now = self._clock.now()
        with self._lock:
            count, until = self._counts.pop(key, (0, now))
            if until <= now:
                count, until = 0, now + timedelta(seconds=window_s)
            self._counts[key] = (count + 1, until)
            while len(self._counts) > _MOST_KEYS:
                self._counts.popitem(last=False)
            return count + 1, (until - now).total_seconds()

    def forget(self, key: str) -> None:
        with self._lock:
            self._counts.pop(key, None)

    def give_back(self, key: str) -> None:
        with self._lock:
            if key in self._counts:
                count, until = self._counts[key]
                self._counts[key] = (max(0, count - 1), until)
