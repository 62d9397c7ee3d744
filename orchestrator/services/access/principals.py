"""Credentials become principals: read from the record, and remembered for a few seconds.

A principal is at most 15 s behind the record, and with the cache in reach one second: whoever
changes something marks it, and remembered principals with another mark are read anew.
"""

from __future__ import annotations

import hmac
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

from orchestrator.models.access.permissions import (
    ADMIN,
    Permission,
    Principal,
    PrincipalKind,
    permissions_of,
    restricted,
)
from orchestrator.ports.access import (
    AccessCache,
    AccessStore,
    AccessWork,
    ApiKey,
    Session,
    Standing,
    User,
    UserState,
)
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.rules import granted, known_permissions
from orchestrator.services.access.tokens import AccessTokens, refuse

#: Seconds a principal is remembered, and seconds until its marks are looked at again.
FRESH_S, LOOK_S = 15.0, 1.0
#: A mark must outlive everything that was remembered before it.
MARK_S = 4 * FRESH_S
USED_EVERY_S = 60.0
_MOST = 10_000
API_KEY = re.compile(r"zqk_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")
_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    principal: Principal
    #: What it depends on, as `kind:id`.
    ids: tuple[str, ...]
    ends_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    found: _Found
    #: The marks of its ids that are older than what was read; None: the cache was away.
    marks: tuple[str, ...] | None
    read_at: datetime
    looked_at: datetime


class Principals:
    """Says who sends a credential, and whether somebody still is who they were."""

    def __init__(
        self,
        store: AccessStore,
        cache: AccessCache,
        tokens: AccessTokens,
        clock: Clock,
        *,
        admin_key: str,
    ) -> None:
        self._store = store
        self._cache = cache
        self._tokens = tokens
        self._clock = clock
        # Without an admin key nothing has this digest.
        self._admin = sha256(admin_key.encode()).digest() if admin_key else _NO_DIGEST
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def of_bearer(self, bearer: str) -> Principal:
        """Return whose credential this is; Unauthorized, with one text, for every other text."""
        given = sha256(bearer.encode("utf-8", "replace")).digest()
        if hmac.compare_digest(given, self._admin):
            return ADMIN
        if API_KEY.fullmatch(bearer):
            return self.of_api_key(bearer)
        claims = self._tokens.read(bearer)
        if claims.session_id == claims.subject:
            scopes = None if claims.scopes is None else known_permissions(claims.scopes)
            ends_at = datetime.fromtimestamp(claims.expires_at, UTC)
            principal = restricted(self.of_key(claims.tenant_id, claims.subject), scopes, ends_at)
        else:
            principal = self.of_session(claims.session_id)
        if (principal.id, principal.tenant_id) != (claims.subject, claims.tenant_id):
            refuse()
        return principal

    def of_api_key(self, text: str, *, anew: bool = False) -> Principal:
        """Return whose API key this is; Unauthorized for every other credential.

        With `anew` the record decides, not what is remembered.
        """
        found = API_KEY.fullmatch(text)
        if found is None:
            refuse()
        prefix, given = found[1], sha256(text.encode()).digest()
        name = f"digest:{given.hex()}"
        if anew:
            with self._lock:
                self._known.pop(name, None)
        return self._remembered(name, lambda: self._read_key(prefix, given))

    def still(self, principal: Principal) -> Principal:
        """Return a principal as it is now; Unauthorized when it is void.

        A key's token ends in its time. A user's goes on with its session, as the page that renews
        it does: signing out, a new password and a lost role end that.
        """
        if principal.expires_at is not None and principal.expires_at <= self._clock.now():
            refuse()
        if principal.kind is PrincipalKind.SYSTEM:
            return principal
        if principal.kind is PrincipalKind.KEY:
            now = self.of_key(principal.tenant_id, principal.id)
            return restricted(now, principal.scopes, principal.expires_at)
        if principal.session_id is None:
            refuse()
        return self.of_session(principal.session_id)

    def of_session(self, session_id: UUID) -> Principal:
        """Return who has signed in; Unauthorized when the session is over."""
        return self._remembered(f"session:{session_id}", lambda: self._read_session(session_id))

    def of_key(self, tenant_id: UUID, key_id: UUID) -> Principal:
        """Return an API key that has been checked before; Unauthorized when it is void."""
        name = f"key:{key_id}"
        return self._remembered(name, lambda: self._read_key_again(tenant_id, key_id))

    def changed(self, *names: str) -> None:
        """Have everybody read anew whoever depends on these `kind:id`. Call it after the commit:
        whoever read before it has older marks, and whoever reads later sees what is committed."""
        gone = set(names)
        with self._lock:
            for key in [k for k, one in self._known.items() if gone & set(one.found.ids)]:
                del self._known[key]
        self._cache.mark(names, uuid4().hex, ttl_s=MARK_S)

    def _remembered(self, name: str, read: Callable[[], _Found]) -> Principal:
        now = self._clock.now()
        with self._lock:
            known = self._known.get(name)
        if known and self._good(name, known, now):
            return known.found.principal
        found = read()
        marks = self._cache.marks(found.ids)
        if marks and any(marks):
            # Something changed of late, perhaps between the two looks: these marks come first now.
            found = read()
        known = _Known(found=found, marks=marks, read_at=now, looked_at=now)
        self._remember(name, known)
        return found.principal

    def _good(self, name: str, known: _Known, now: datetime) -> bool:
        """Tell whether what was read then may be answered now."""
        ends_at = known.found.ends_at
        if not _within(FRESH_S, known.read_at, now) or (ends_at and now >= ends_at):
            return False
        if _within(LOOK_S, known.looked_at, now):
            return True
        marks = self._cache.marks(known.found.ids)
        if marks is not None and marks != (known.marks or ("",) * len(marks)):
            return False
        self._remember(name, replace(known, marks=marks or known.marks, looked_at=now))
        return True

    def _remember(self, name: str, known: _Known) -> None:
        with self._lock:
            self._known[name] = known
            self._known.move_to_end(name)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)

    def _read_session(self, session_id: UUID) -> _Found:
        with self._store.begin(any_tenant=True) as work:
            found = work.sessions.get_session(session_id)
            if found is None or not alive(*found, self._clock.now()):
                refuse()
            session, user = found
            standing = work.standing(user.tenant_id, user.id)
        return _of_user(session, user, standing)

    def _read_key(self, prefix: str, given: bytes) -> _Found:
        with self._store.begin(any_tenant=True) as work:
            found = work.api_keys.by_prefix(prefix)
            # Compared in any case, so that the time does not tell which prefixes there are.
            fits = hmac.compare_digest(given, found[1] if found else _NO_DIGEST)
            if found is None or not fits:
                refuse()
            return self._use_key(work, found[0])

    def _read_key_again(self, tenant_id: UUID, key_id: UUID) -> _Found:
        with self._store.begin(any_tenant=True) as work:
            key = work.api_keys.get_key(tenant_id, key_id)
            if key is None:
                refuse()
            return self._use_key(work, key)

    def _use_key(self, work: AccessWork, key: ApiKey) -> _Found:
        now = self._clock.now()
        if key.revoked_at is not None or (key.expires_at and key.expires_at <= now):
            refuse()
        if key.used_at is None or (now - key.used_at).total_seconds() >= USED_EVERY_S:
            work.api_keys.used(key.id, now)
        return _of_key(key, work.standing(key.tenant_id, key.id))


def alive(session: Session, user: User, now: datetime) -> bool:
    """Tell whether a session is good at a moment."""
    return (
        session.revoked_at is None
        and session.expires_at > now
        and session.created_at >= user.valid_from
        and user.state is UserState.ACTIVE
    )


def _within(most_s: float, at: datetime, now: datetime) -> bool:
    """A clock that was set back makes what was remembered old, not young."""
    return timedelta() <= now - at < timedelta(seconds=most_s)


def _of_user(session: Session, user: User, standing: Standing) -> _Found:
    principal = Principal(
        id=user.id,
        kind=PrincipalKind.USER,
        name=user.email,
        tenant_id=user.tenant_id,
        roles=user.roles,
        permissions=permissions_of(user.roles, custom_roles(standing), user.tenant_id),
        grants=_grants(standing),
        session_id=session.id,
    )
    ids = (f"session:{session.id}", f"user:{user.id}", f"tenant:{user.tenant_id}")
    return _Found(principal=principal, ids=ids, ends_at=session.expires_at)


def _of_key(key: ApiKey, standing: Standing) -> _Found:
    permissions = permissions_of(key.roles, custom_roles(standing), key.tenant_id)
    grants = _grants(standing)
    if key.scopes is not None:
        scopes = known_permissions(key.scopes)
        permissions &= scopes
        grants = {workflow: allowed & scopes for workflow, allowed in grants.items()}
    principal = Principal(
        id=key.id,
        kind=PrincipalKind.KEY,
        name=key.name,
        tenant_id=key.tenant_id,
        roles=key.roles,
        permissions=permissions,
        grants=grants,
    )
    ids = (f"key:{key.id}", f"tenant:{key.tenant_id}")
    return _Found(principal=principal, ids=ids, ends_at=key.expires_at)


def _grants(standing: Standing) -> dict[UUID, frozenset[Permission]]:
    custom = custom_roles(standing)
    return {workflow: granted(role, custom) for workflow, role in standing.grants.items()}


def custom_roles(standing: Standing) -> dict[str, frozenset[Permission]]:
    """Return a tenant's own roles by name."""
    return {name: known_permissions(names) for name, names in standing.custom.items()}
