"""Access on a clock that stands still, for one process or for several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

from orchestrator.adapters.memory.runtime import SettableClock
from orchestrator.adapters.postgres.access.access import PostgresAccess
from orchestrator.adapters.redis.sessions import RedisSessions
from orchestrator.models.access.permissions import ADMIN, Principal
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.access import User
from orchestrator.ports.audit import AuditEntry, AuditFilter
from orchestrator.services.access.facade import Access
from orchestrator.services.access.passwords import Passwords
from orchestrator.services.access.sign_in.sessions import SignedIn
from orchestrator.services.access.wiring import Parts, wire
from orchestrator.services.auditing import Auditing
from orchestrator.settings import Auth
from tests.factories import SECRET_KEY
from tests.servers import Servers

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


class Clock(SettableClock):
    """A clock by which the keys of a Redis end too."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(datetime(2026, 5, 4, 12, 0, 0, 250_000, tzinfo=UTC))
        self._servers = servers

    def advance(self, seconds: float) -> None:
        """Let time pass: every key is so much nearer to its end."""
        super().advance(seconds)
        client = self._servers.client
        for key in self._servers.key_names():
            client.pexpire(key, client.pttl(key) - round(seconds * 1000))


class Cache:
    """Sessions in Redis; with `away`, in one that nobody reaches."""

    def __init__(self, servers: Servers) -> None:
        settings = servers.redis
        self._there = RedisSessions(settings.url, prefix=settings.prefix, timeout_s=5)
        self._nowhere = RedisSessions("redis://127.0.0.1:1/0", prefix="zq:", timeout_s=0.2)
        self.away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nowhere if self.away else self._there, name)


class Rig:
    """One installation."""

    def __init__(self, servers: Servers, **auth: Any) -> None:
        self.servers = servers
        self.clock = Clock(servers)
        self.store = servers.store
        self.record = PostgresAccess(servers.store.pool)
        self.cache: Any = Cache(servers)
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

    def password(self, user_id: UUID) -> str:
        """Return the stored hash of a user's password."""
        return str(self.servers.run("SELECT password FROM users WHERE id = %s", user_id)[0][0])

    def store_password(self, user_id: UUID, stored: str) -> None:
        """Put something in the place of the hash."""
        self.servers.run("UPDATE users SET password = %s WHERE id = %s", stored, user_id)

    def count(self, table: str) -> int:
        """Return how many rows there are."""
        return int(self.servers.run(f"SELECT count(*) FROM {table}")[0][0])

    def session(self, column: str) -> Any:
        """Return a column of the only session there is."""
        ((found,),) = self.servers.run(f"SELECT {column} FROM sessions")
        return found

    def keys(self, kind: str) -> list[str]:
        """Return the names of the keys of a kind: `ticket`, `count:address`."""
        return [key for key in self.servers.key_names() if f":access:{kind}:" in key]

    def audited(self, tenant_id: UUID = DEFAULT_TENANT) -> Sequence[AuditEntry]:
        """Return a tenant's audit log, oldest first."""
        return self.store.audit.list(AuditFilter(tenant_id=tenant_id, after=0, limit=1000))

    def told(self, tenant_id: UUID) -> list[str]:
        """Return the actions in a tenant's audit log, oldest first."""
        return [entry.action for entry in self.audited(tenant_id)]
