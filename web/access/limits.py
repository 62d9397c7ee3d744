"""How often one may ask: limits by class of route, counted for each user, key or address.

With Redis away reads, writes, starts and sockets go on uncounted, and sign-ins are counted by each
process: whoever has to put things right must get in, and a guesser must not profit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b, sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from math import ceil

from flask import Flask, Response, current_app, g, request
from limits import RateLimitItem, parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

from orchestrator.bootstrap import core as bootstrap
from orchestrator.bootstrap.core import Core
from orchestrator.errors import RateLimited, SettingsError
from orchestrator.models.access.permissions import Permission, Principal, PrincipalKind
from web.access.guard import PUBLIC
from web.access.needs import need_of
from web.context import address
from web.responses.errors import problem

#: How many times as much this machine's own address may: behind a proxy that is not declared,
#: everybody has it.
_LOOPBACK_FACTOR = 10
#: Addresses are counted in so many buckets: a key each would let a stranger fill Redis.
_BUCKETS = 65_536
_EXEMPT = "health."
_PAGES = "docs."


class RouteClass(StrEnum):
    """What a request counts as; each has the limit ZQ_LIMITS__<name>."""

    SIGN_IN = "sign_in"
    READS = "reads"
    WRITES = "writes"
    STARTS = "starts"
    SOCKETS = "sockets"
    #: Without a valid credential.
    ANONYMOUS = "anonymous"


#: Counted also while Redis is away.
_STRICT = (str(RouteClass.SIGN_IN),)


@dataclass(frozen=True, slots=True)
class Counted:
    """A request that was counted, and what is left of its window."""

    name: RouteClass
    item: RateLimitItem
    passed: bool
    left: int
    #: When the window ends, in seconds since 1970; 0: Redis is away, nothing was counted.
    ends_at: float

    @property
    def left_s(self) -> int:
        """Return the seconds until the window ends."""
        return max(1, ceil(self.ends_at - time.time()))

    @property
    def refusal(self) -> str:
        """Say what was too much."""
        return (
            f"more than {self.item.amount} requests of the class {self.name} in"
            f" {self.item.get_expiry()} s; wait {self.left_s} s"
        )

    def show(self, response: Response) -> None:
        """Add RateLimit and RateLimit-Policy, as draft-ietf-httpapi-ratelimit-headers has them."""
        if self.ends_at > 0:
            policy = f'"{self.name}";q={self.item.amount};w={self.item.get_expiry()}'
            response.headers["RateLimit-Policy"] = policy
            response.headers["RateLimit"] = f'"{self.name}";r={self.left};t={self.left_s}'


class Limits:
    """The limits of one application."""

    def __init__(self, core: Core, told: Callable[[str], None]) -> None:
        settings = core.settings
        self._told = told
        secret = settings.auth.secret_key or settings.auth.admin_key
        self._salt = sha256(b"zq limits " + secret.encode()).digest()
        self._admin_factor = settings.limits.admin_factor
        #: What each class may, times how much.
        self._items = {
            (name, factor): _read(name, getattr(settings.limits, name), factor)
            for name in RouteClass
            for factor in (1, _LOOPBACK_FACTOR, self._admin_factor)
        }
        uri, options = bootstrap.rate_windows(settings, strict=_STRICT)
        self._windows = FixedWindowRateLimiter(storage_from_string(uri, **options))

    def check(self) -> None:
        """Count the request at hand, or raise RateLimited."""
        name = _class_of()
        counted = self._count(name) if name is not None else None
        if counted is None:
            return
        g.counted = counted
        if not counted.passed:
            self._told(str(counted.name))
            raise RateLimited(counted.refusal, retry_after_s=counted.left_s)

    def dress(self, response: Response) -> Response:
        """Say in an answer what is left; count it first if it tells that nobody knows who asked."""
        counted: Counted | None = g.get("counted")
        if counted is None and response.status_code == 401:
            counted = self._count(RouteClass.ANONYMOUS)
            if counted is not None and not counted.passed:
                self._told(str(counted.name))
                wait = {"Retry-After": str(counted.left_s)}
                response = problem(429, RateLimited.code, counted.refusal, headers=wait)
        if counted is not None:
            counted.show(response)
        return response

    def _count(self, name: RouteClass) -> Counted | None:
        """Count a request; None where its class has no limit."""
        item = self._items[name, self._factor()]
        if item is None:
            return None
        who = self._who(), str(name)
        passed = self._windows.hit(item, *who)
        ends_at, left = self._windows.get_window_stats(item, *who)
        return Counted(name, item, passed, left, ends_at)

    def _factor(self) -> int:
        principal = _principal()
        if principal is not None:
            return self._admin_factor if principal.kind is PrincipalKind.SYSTEM else 1
        caller = _caller()
        return _LOOPBACK_FACTOR if caller is not None and caller.is_loopback else 1

    def _who(self) -> str:
        principal = _principal()
        return str(principal.id) if principal is not None else f"address-{self._bucket()}"

    def _bucket(self) -> int:
        caller = _caller()
        if isinstance(caller, IPv6Address):
            # Whoever has one IPv6 address has all of its network.
            caller = ip_network((caller, 64), strict=False).network_address
        packed = caller.packed if caller is not None else b""
        return int.from_bytes(blake2b(packed, key=self._salt, digest_size=4).digest()) % _BUCKETS


def install(app: Flask, core: Core, told: Callable[[str], None]) -> None:
    """Limit an application; `told` hears the class of each request that was refused.

    Goes after the guard, which knows who asks, and before its permissions: what these refuse counts
    too. SettingsError for a limit that is none.
    """
    limits = Limits(core, told)
    app.before_request(limits.check)
    app.after_request(limits.dress)


def _read(name: str, text: str, factor: int) -> RateLimitItem | None:
    if text.strip() in {"", "0"}:
        return None
    try:
        item = parse(text)
    except ValueError:
        item = None
    if item is None or item.amount < 1:
        raise SettingsError(
            f"ZQ_LIMITS__{name.upper()} is {text!r}; write it as 600/minute, or 0 for no limit"
        )
    return type(item)(item.amount * factor, item.multiples)


def _principal() -> Principal | None:
    found: Principal | None = g.get("principal")
    return found


def _caller() -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address())
    except ValueError:
        return None


def _class_of() -> RouteClass | None:
    """Return what this request counts as; None for what is never limited."""
    endpoint = request.endpoint or ""
    if endpoint.startswith(_EXEMPT):
        return None
    if endpoint in PUBLIC:
        # Whatever lets strangers in and is no page is a sign-in, until somebody says otherwise.
        return RouteClass.ANONYMOUS if endpoint.startswith(_PAGES) else RouteClass.SIGN_IN
    if _principal() is None:
        return RouteClass.ANONYMOUS
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return RouteClass.SOCKETS
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return RouteClass.READS
    return RouteClass.STARTS if _starts(endpoint) else RouteClass.WRITES


def _starts(endpoint: str) -> bool:
    need = need_of(current_app, endpoint)
    return need is not None and need.permission is Permission.RUNS_START
