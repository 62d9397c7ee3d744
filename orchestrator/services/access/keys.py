"""API keys of a tenant: made, listed, rotated and revoked. Where one is checked: `principals`."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from orchestrator.errors import Conflict
from orchestrator.models.access.permissions import Principal
from orchestrator.models.ids import uuid7
from orchestrator.ports.access import AccessStore, AccessWork, ApiKey, Grant
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.principals import Principals
from orchestrator.services.access.reporting import Reporting
from orchestrator.services.access.rules import (
    checked_name,
    checked_permissions,
    checked_roles,
    custom_of,
    gone,
    grants_not_above,
    invalid,
    not_above,
)

_ALPHABET = string.ascii_lowercase + string.digits
_PREFIX_CHARACTERS = 12
_MOST_OVERLAP_S = 30 * 86_400.0


class Keys:
    """Answers for `core.access.keys`. A key may do no more than who makes it (Forbidden)."""

    def __init__(
        self, store: AccessStore, principals: Principals, clock: Clock, reporting: Reporting
    ) -> None:
        self._store = store
        self._principals = principals
        self._clock = clock
        self._reporting = reporting

    def create(
        self,
        actor: Principal,
        *,
        name: str,
        roles: Sequence[str],
        scopes: Sequence[str] | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """Store a key; return it with its plain text, which is never shown again.

        InvalidDefinition for a bad name, role, scope or end. Its roles must not be above the
        actor's own even where scopes narrow them to nothing: `owner` is only for owners.
        """
        now = self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise invalid("expires_at", "in_the_past", "use a moment that is still to come")
        kept = None if scopes is None else checked_permissions(scopes, "scopes")
        name = checked_name(name)
        with self._store.begin() as work:
            custom = custom_of(work, actor.tenant_id)
            wanted = checked_roles(roles, custom)
            not_above(actor, wanted, custom, actor.tenant_id, kept)
            key, text = _made(
                tenant_id=actor.tenant_id, name=name, roles=wanted, scopes=kept, by=actor.id,
                now=now, expires_at=expires_at,
            )  # fmt: skip
            self._add(work, key, text)
        return key, text

    def _add(self, work: AccessWork, key: ApiKey, text: str) -> None:
        self._reporting.changes("api_key", key.id, after=_told(key))
        work.api_keys.add_key(key, sha256(text.encode()).digest())

    def get(self, actor: Principal, key_id: UUID) -> ApiKey:
        """Return a key of the actor's tenant; NotFound."""
        with self._store.begin() as work:
            return self._found(work, actor, key_id)

    def page(self, actor: Principal, *, after: UUID | None = None, limit: int = 50) -> list[ApiKey]:
        """Return keys in the order of their ids, revoked ones too."""
        with self._store.begin() as work:
            return work.api_keys.page(actor.tenant_id, after=after, limit=limit)

    def rotate(
        self,
        actor: Principal,
        key_id: UUID,
        *,
        overlap_s: float = 86_400.0,
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """Return a new key with the same roles, scopes and grants.

        The old one works for `overlap_s` more seconds.
        Conflict for a key that is revoked, expired or rotated already. The new key ends at
        `expires_at`; without it, it lives as long from now as the old one was to live.
        """
        if not 0 <= overlap_s <= _MOST_OVERLAP_S:
            raise invalid("overlap_s", "out_of_range", f"use 0 to {_MOST_OVERLAP_S:.0f} seconds")
        now = self._clock.now()
        with self._store.begin() as work:
            old = self._touchable(work, actor, key_id)
            if old.revoked_at or old.rotated_to or (old.expires_at and old.expires_at <= now):
                raise Conflict("only a key that is good, and was not rotated yet, can be rotated")
            if expires_at is None and old.expires_at is not None:
                expires_at = now + (old.expires_at - old.created_at)
            if expires_at is not None and expires_at <= now:
                raise invalid("expires_at", "in_the_past", "use a moment that is still to come")
            new, text = _made(
                tenant_id=old.tenant_id, name=old.name, roles=old.roles, scopes=old.scopes,
                by=actor.id, now=now, expires_at=expires_at,
            )  # fmt: skip
            until = now + timedelta(seconds=overlap_s)
            ending = min(old.expires_at or until, until)
            changed = replace(old, rotated_to=new.id, expires_at=ending)
            self._add(work, new, text)
            self._hand_on(work, old, new)
            self._reporting.changes("api_key", old.id, _told(old), _told(changed))
            work.api_keys.change(changed)
        self._principals.changed(f"key:{old.id}")
        return new, text

    def _hand_on(self, work: AccessWork, old: ApiKey, new: ApiKey) -> None:
        """Grant a key what another is granted; `_touchable` has seen that this is not too much."""
        for workflow_id, role in work.standing(old.tenant_id, old.id).grants.items():
            grant = Grant(
                workflow_id=workflow_id, principal_id=new.id, tenant_id=new.tenant_id, role=role,
                created_at=new.created_at,
            )  # fmt: skip
            self._reporting.changes("grant", grant.name, after={"role": role})
            work.grants.put(grant)

    def revoke(self, actor: Principal, key_id: UUID) -> None:
        """Make a key void at once; harmless when it is."""
        with self._store.begin() as work:
            key = self._touchable(work, actor, key_id)
            changed = key
            if key.revoked_at is None:
                changed = replace(key, revoked_at=self._clock.now())
                self._reporting.changes("api_key", key.id, _told(key), _told(changed))
                work.api_keys.change(changed)
        self._principals.changed(f"key:{key.id}")

    def _found(
        self, work: AccessWork, actor: Principal, key_id: UUID, *, lock: bool = False
    ) -> ApiKey:
        key = work.api_keys.get_key(actor.tenant_id, key_id, lock=lock)
        if key is None:
            raise gone("API key")
        return key

    def _touchable(self, work: AccessWork, actor: Principal, key_id: UUID) -> ApiKey:
        """Return a key that is not above the actor: nobody gives or takes what they have not.

        Nor does a key's narrowed token take or renew the whole key.
        """
        key = self._found(work, actor, key_id, lock=True)
        if key.id != actor.id or actor.scopes is not None:
            custom = custom_of(work, actor.tenant_id)
            not_above(actor, key.roles, custom, actor.tenant_id, key.scopes)
            grants = work.standing(actor.tenant_id, key.id).grants
            grants_not_above(actor, grants, custom, key.scopes)
        return key


def _made(
    *,
    tenant_id: UUID,
    name: str,
    roles: tuple[str, ...],
    scopes: tuple[str, ...] | None,
    by: UUID,
    now: datetime,
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(_PREFIX_CHARACTERS))
    key = ApiKey(
        id=uuid7(now), tenant_id=tenant_id, name=name, prefix=prefix, roles=roles, scopes=scopes,
        created_by=by, rotated_to=None, created_at=now, expires_at=expires_at,
    )  # fmt: skip
    return key, f"zqk_{prefix}_{secrets.token_urlsafe(32)}"


def _told(key: ApiKey) -> dict[str, object]:
    """Return what the audit log's digests are made of."""
    return {
        "name": key.name,
        "prefix": key.prefix,
        "roles": sorted(key.roles),
        "scopes": key.scopes,
        "expires_at": key.expires_at,
        "rotated_to": key.rotated_to,
        "revoked": key.revoked_at is not None,
    }
