"""Socket tickets: a browser cannot send a header with a socket, so it sends one of these.

What is kept of one in the cache stands under a MAC: writing there makes nobody anybody.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from orchestrator.models.access.permissions import ADMIN, Principal, PrincipalKind, restricted
from orchestrator.models.access.secret_keys import SecretKeys
from orchestrator.ports.access import AccessCache
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.principals import Principals
from orchestrator.services.access.rules import known_permissions
from orchestrator.services.access.tokens import refuse

TICKET_S = 60.0
_MAC_CHARACTERS = 64
_TICKET = re.compile(r"zqt_[A-Za-z0-9_-]{43}")


class Tickets:
    """Issues and takes tickets. What is kept names whose one is, never what they may do.

    A ticket that was fetched with a key's token opens a socket that ends with the token.
    """

    def __init__(
        self, cache: AccessCache, principals: Principals, secrets: SecretKeys, clock: Clock
    ) -> None:
        self._cache = cache
        self._principals = principals
        self._keys = [one.key for one in secrets.derive("socket tickets")]
        self._clock = clock

    def issue(self, principal: Principal) -> str:
        """Return a ticket; ChannelUnavailable while the cache is away."""
        ticket = f"zqt_{secrets.token_urlsafe(32)}"
        digest = _digest(ticket)
        text = json.dumps(
            {
                "kind": str(principal.kind),
                "id": str(principal.id),
                "tenant": str(principal.tenant_id),
                "session": str(principal.session_id) if principal.session_id else None,
                "scopes": None if principal.scopes is None else sorted(principal.scopes),
                "ends": principal.expires_at.timestamp() if principal.expires_at else None,
                "until": self._clock.now().timestamp() + TICKET_S,
            }
        )
        signed = f"{_mac(self._keys[0], digest, text)}{text}"
        self._cache.put_ticket(digest, signed, ttl_s=TICKET_S)
        return ticket

    def take(self, ticket: str) -> Principal:
        """Use a ticket up and return its owner as it is now; Unauthorized when it is not good."""
        if not _TICKET.fullmatch(ticket):
            refuse()
        digest = _digest(ticket)
        signed = self._cache.take_ticket(digest) or ""
        mac, text = signed[:_MAC_CHARACTERS], signed[_MAC_CHARACTERS:]
        fits = [hmac.compare_digest(_mac(k, digest, text), mac) for k in self._keys]
        if not any(fits):
            refuse()
        kept: dict[str, Any] = json.loads(text)
        ends = kept.get("ends")
        if min(kept["until"], ends or kept["until"]) <= self._clock.now().timestamp():
            refuse()
        kind, owner, tenant_id = PrincipalKind(kept["kind"]), UUID(kept["id"]), UUID(kept["tenant"])
        session_id = UUID(kept["session"]) if kept["session"] else None
        if kind is PrincipalKind.SYSTEM:
            return ADMIN
        if kind is PrincipalKind.KEY:
            scopes = None if kept["scopes"] is None else known_permissions(kept["scopes"])
            ends_at = None if ends is None else datetime.fromtimestamp(ends, UTC)
            return restricted(self._principals.of_key(tenant_id, owner), scopes, ends_at)
        if session_id is None:
            refuse()
        return self._principals.of_session(session_id)


def _digest(ticket: str) -> str:
    return sha256(ticket.encode()).hexdigest()


def _mac(key: bytes, digest: str, text: str) -> str:
    return hmac.digest(key, f"{digest} {text}".encode(), "sha256").hex()
