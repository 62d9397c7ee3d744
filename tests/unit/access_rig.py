"""Access in memory on a clock that stands still, for one process or for several."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

from orchestrator.adapters.memory.access import MemoryAccess
from orchestrator.adapters.memory.access_cache import MemoryAccessCache
from orchestrator.adapters.memory.runtime import SettableClock
from orchestrator.adapters.memory.store import MemoryStore
from orchestrator.models.access.permissions import ADMIN, Principal
from orchestrator.ports.access import User
from orchestrator.ports.audit import AuditFilter
from orchestrator.services.access.facade import Access
from orchestrator.services.access.passwords import Passwords
from orchestrator.services.access.sign_in.sessions import SignedIn
from orchestrator.services.access.wiring import Parts, wire
from orchestrator.services.auditing import Auditing
from orchestrator.settings import Auth
from tests.factories import SECRET_KEY

ADMIN_KEY = "the-admin-key-of-these-tests"
PASSWORD = "correct horse battery"
ADDRESS, AGENT = "192.0.2.7", "a browser"


class CountingHasher(PasswordHasher):
    """Counts what costs time: verifications and hashes."""

    def __init__(self) -> None:
        low = CHEAPEST
        super().__init__(
            low.time_cost, low.memory_cost, low.parallelism, low.hash_len, low.salt_len
        )
        self.verified = 0
        self.hashed = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Any:  # noqa: A002
        self.verified += 1
        return super().verify(hash, password)

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.hashed += 1
        return super().hash(password, salt=salt)


class Rig:
    """One installation."""

    def __init__(self, **auth: Any) -> None:
        self.clock = SettableClock(datetime(2026, 5, 4, 12, 0, 0, 250_000, tzinfo=UTC))
        self.store = MemoryStore(self.clock)
        self.record = MemoryAccess(self.store.audit)
        self.cache = MemoryAccessCache(self.clock)
        self.hasher = CountingHasher()
        self.auth = replace(Auth(admin_key=ADMIN_KEY, secret_key=SECRET_KEY), **auth)
        self.access = self.process()

    def process(self, **auth: Any) -> Access:
        """Return the access of another process of the same installation."""
        parts = Parts(
            store=self.record,
            cache=self.cache,
            workflows=self.store,
            clock=self.clock,
            passwords=Passwords(self.hasher, waiting=64),
            auditing=Auditing(self.store.audit),
        )
        return wire(replace(self.auth, **auth), parts)

    def user(
        self,
        *roles: str,
        email: str = "ada@example.org",
        tenant_id: UUID | None = None,
        password: str | None = PASSWORD,
    ) -> User:
        """Make a user."""
        return self.access.users.create(
            ADMIN, email=email, roles=roles, password=password, tenant_id=tenant_id
        )

    def sign_in(self, email: str = "ada@example.org", password: str = PASSWORD) -> SignedIn:
        """Sign in with a password."""
        return self.access.sign_in(email, password, address=ADDRESS, agent=AGENT)

    def signed_in(self, *roles: str, email: str = "ada@example.org") -> Principal:
        """Make a user and sign it in."""
        self.user(*roles, email=email)
        return self.sign_in(email).principal

    def tenant(self, name: str = "other") -> UUID:
        """Make a tenant."""
        return self.access.tenants.create(ADMIN, name=name).id

    def told(self, tenant_id: UUID) -> list[str]:
        """Return the actions in a tenant's audit log, oldest first."""
        wanted = AuditFilter(tenant_id=tenant_id, after=0, limit=1000)
        return [entry.action for entry in self.store.audit.list(wanted)]
