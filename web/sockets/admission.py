"""What all sockets share: the check before the upgrade, a bounded number of slots, and the look at
whether who listens still may.

Before the upgrade: 401 without a credential, 403 for a foreign Origin, 400 for a bad query or
handshake, 429 when the principal or its tenant has too many sockets, 503 when no slot is free.
After it, close codes tell what is wrong.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from flask import Blueprint, g, request
from flask_sock import Sock

from orchestrator.bootstrap.core import Core
from orchestrator.errors import (
    BadRequest,
    QuotaExceeded,
    RateLimited,
    ServiceUnavailable,
    Unauthorized,
)
from orchestrator.models.access.permissions import Principal
from orchestrator.models.quota import Quota
from web.context import core, principal, shared

NORMAL, RESTARTING, TRY_LATER, FLOODED = 1000, 1012, 1013, 1008
SIGNED_OUT, NOT_ALLOWED = 4401, 4403
#: A query parameter of every socket, which the guard takes: see `guard`.
TICKET = "ticket"
#: Seconds between two looks at whether a principal still may listen.
_LOOK_S = 5.0
#: How long a socket outlives the record of who may, seconds.
_PATIENCE_S = 25.0
#: Seconds between two renewals of a lease.
_RENEW_S = 20.0
#: When to try again where too many are open, seconds: a lease of a lost process ends by then.
_CROWDED_S = 60

routes = Blueprint("stream", __name__)
sock = Sock()
#: By endpoint: reads the query into `g.query`, or raises BadRequest.
QUERIES: dict[str, Callable[[], Any]] = {}


@dataclass(frozen=True, slots=True)
class Lease:
    """A socket's place among those of its principal and tenant."""

    core: Core
    id: UUID
    principal: Principal

    def renew(self) -> None:
        """Keep it."""
        self.core.sockets.renew(self.id, self.principal.tenant_id, self.principal.id)

    def drop(self) -> None:
        """Give it back."""
        self.core.sockets.drop(self.id, self.principal.tenant_id, self.principal.id)


@routes.before_request
def admit() -> None:
    """Check the request and take a socket's slot, so that watchers never starve the API."""
    if request.headers.get("Upgrade", "").lower() != "websocket" or request.method != "GET":
        return
    g.query = QUERIES[request.endpoint or ""]()
    _check_handshake()
    # Messages are small and flow one way: compression would cost more memory than it saves.
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    request.prom_do_not_track = True  # type: ignore[attr-defined]
    web = shared()
    if web.stopping.is_set() or not web.sockets.take(principal()):
        raise ServiceUnavailable("no socket is free for you just now; try again in a moment")
    g.slot = principal()
    g.lease = _lease()


@routes.teardown_request
def leave(_: BaseException | None) -> None:
    """Give the slot and the lease back, however the request ended."""
    lease, slot = g.pop("lease", None), g.pop("slot", None)
    if lease is not None:
        lease.drop()
    if slot is not None:
        shared().sockets.give_back(slot)


def _lease() -> Lease:
    who, found = principal(), core()
    of_tenant = found.quotas.limit(who.tenant_id, Quota.SOCKETS)
    each = found.settings.limits.sockets_each
    lease = Lease(found, uuid4(), who)
    full = found.sockets.take(lease.id, who.tenant_id, who.id, tenant=of_tenant, principal=each)
    if full == "tenant":
        message = f"the tenant may have {of_tenant} sockets open; close one first"
        raise QuotaExceeded(message, retry_after_s=_CROWDED_S)
    if full == "principal":
        message = f"you may have {each} sockets open; close one first"
        raise RateLimited(message, retry_after_s=_CROWDED_S)
    return lease


def _check_handshake() -> None:
    try:
        nonce = base64.b64decode(request.headers.get("Sec-WebSocket-Key", ""), validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16 or request.headers.get("Sec-WebSocket-Version") != "13":
        raise BadRequest("the handshake needs Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key")


class AccessRecheck:
    """Looks, while a socket is open, whether its principal still may listen, and keeps its lease.

    With the record of that away it is believed for 25 s.
    """

    def __init__(self, allowed: Callable[[Principal], bool]) -> None:
        self._allowed = allowed
        self._core = core()
        self._lease: Lease = g.lease
        self._principal = principal()
        self._looked = self._sure = self._renewed = time.monotonic()

    def objection(self) -> tuple[int, str] | None:
        """Return why the socket must close, as (code, reason); call it about every second."""
        now = time.monotonic()
        if now - self._renewed >= _RENEW_S:
            self._renewed = now
            self._lease.renew()
        if now - self._looked < _LOOK_S:
            return None
        self._looked = now
        try:
            self._principal = self._core.access.still(self._principal)
            fine = self._allowed(self._principal)
        except Unauthorized:
            return SIGNED_OUT, "signed out"
        except ServiceUnavailable:
            late = now - self._sure > _PATIENCE_S
            return (TRY_LATER, "the record is away: try again") if late else None
        self._sure = now
        return None if fine else (NOT_ALLOWED, "not allowed any more")
