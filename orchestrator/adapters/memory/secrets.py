"""Secrets, sealed, and variables in memory: for tests and dry runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from orchestrator.adapters.memory.audit import MemoryAudit
from orchestrator.adapters.memory.quotas import MemoryQuotaChecks
from orchestrator.adapters.memory.tables import Tables, pack, unpack
from orchestrator.models.audit import digest_of
from orchestrator.models.secret import Sealed, SealedSecret, Secret, Variable
from orchestrator.ports.acting import acting, note
from orchestrator.ports.runtime import Clock

_Key = tuple[UUID, str]


class _Checks(MemoryQuotaChecks):
    """Counts the secrets, which are not among the other tables."""

    def __init__(self, tables: Tables, rows: dict[_Key, tuple[SealedSecret, Secret]]) -> None:
        super().__init__(tables)
        self._secrets = rows

    def secrets(self, tenant_id: UUID) -> int:
        """See the port."""
        return sum(owner == tenant_id for owner, _ in self._secrets)


class MemorySecretWork:
    """Answers `ports.secrets.SecretWork`; what it changes is kept when the block ends well."""

    def __init__(self, rows: dict[_Key, tuple[SealedSecret, Secret]], tables: Tables) -> None:
        self.rows = dict(rows)
        self.quotas = _Checks(tables, self.rows)
        self._clock = tables.clock

    def get(self, tenant_id: UUID, name: str) -> SealedSecret | None:
        """See the port."""
        row = self.rows.get((tenant_id, name))
        return row[0] if row else None

    def put(self, secret: SealedSecret) -> Secret:
        """See the port."""
        key = secret.tenant_id, secret.name
        now = self._clock.now()
        before = self.rows.get(key)
        told = Secret(
            name=secret.name, description=secret.description, version=secret.version,
            created_at=before[1].created_at if before else now, updated_at=now,
        )  # fmt: skip
        self.rows[key] = secret, told
        return told

    def remove(self, tenant_id: UUID, name: str) -> None:
        """See the port."""
        self.rows.pop((tenant_id, name), None)

    def rewrap(self, secret: SealedSecret, sealed: Sealed) -> bool:
        """See the port."""
        key = secret.tenant_id, secret.name
        present = self.rows.get(key)
        if present is None or present[0] != secret:
            return False
        self.rows[key] = replace(secret, sealed=sealed), present[1]
        return True


class MemorySecrets:
    """Answers `ports.secrets.SecretRows`."""

    def __init__(self, tables: Tables, audit: MemoryAudit) -> None:
        self._tables = tables
        self._audit = audit
        self._lock = threading.RLock()
        self.rows: dict[_Key, tuple[SealedSecret, Secret]] = {}

    def list(self, tenant_id: UUID, *, after: str, limit: int) -> Sequence[Secret]:
        """See the port."""
        found = sorted(n for t, n in self.rows.copy() if t == tenant_id and n > after)
        return [self.rows[tenant_id, name][1] for name in found[:limit]]

    def sealed(self, tenant_id: UUID, names: Sequence[str]) -> Sequence[SealedSecret]:
        """See the port."""
        rows = (self.rows.get((tenant_id, name)) for name in dict.fromkeys(names))
        return [row[0] for row in rows if row]

    def under_other_keys(
        self, newest: str, *, after: tuple[UUID, str] | None, limit: int
    ) -> Sequence[SealedSecret]:
        """See the port."""
        found = [
            self.rows[key][0]
            for key in sorted(self.rows.copy())
            if (after is None or key > after) and self.rows[key][0].sealed.master_key_id != newest
        ]
        return found[:limit]

    @contextmanager
    def begin(self) -> Iterator[MemorySecretWork]:
        """See the port."""
        one = acting()
        with self._lock:
            if one is not None:
                one.changes.clear()
            work = MemorySecretWork(self.rows, self._tables)
            yield work
            self._audit.record(one, wrote=work.rows != self.rows)
            self.rows = work.rows


class MemoryVariables:
    """Answers `ports.secrets.VariableRows`."""

    def __init__(self, clock: Clock, audit: MemoryAudit) -> None:
        self._clock = clock
        self._audit = audit
        self._lock = threading.RLock()
        #: (tenant, name, environment) -> the variable, its value as JSON.
        self._rows: dict[tuple[UUID, str, str], Variable] = {}

    def list(
        self,
        tenant_id: UUID,
        *,
        environment: str | None,
        after: tuple[str, str] | None,
        limit: int,
    ) -> Sequence[Variable]:
        """See the port."""
        keys = sorted(
            key
            for key in self._rows.copy()
            if key[0] == tenant_id
            and (environment is None or key[2] == environment)
            and key[1:] > (after or ("", ""))
        )
        return [_read(self._rows[key]) for key in keys[:limit]]

    def get(self, tenant_id: UUID, environment: str, name: str) -> Variable | None:
        """See the port."""
        row = self._rows.get((tenant_id, name, environment))
        return _read(row) if row else None

    def values(self, tenant_id: UUID, environment: str, names: Sequence[str]) -> dict[str, Any]:
        """See the port."""
        found: dict[str, Any] = {}
        for name in names:
            own = self.get(tenant_id, environment, name) or self.get(tenant_id, "", name)
            if own is not None:
                found[name] = own.value
        return found

    def put(
        self, tenant_id: UUID, environment: str, name: str, value: Any, description: str | None
    ) -> tuple[Variable, bool]:
        """See the port."""
        key, now = (tenant_id, name, environment), self._clock.now()
        with self._lock:
            before = self.get(tenant_id, environment, name)
            row = Variable(
                name=name, environment=environment, value=pack([value]),
                description=(before.description if before else "")
                if description is None
                else description,
                created_at=before.created_at if before else now, updated_at=now,
            )  # fmt: skip
            self._record(environment, name, before, after=digest_of(value))
            self._rows[key] = row
        return _read(row), before is None

    def remove(self, tenant_id: UUID, environment: str, name: str) -> bool:
        """See the port."""
        with self._lock:
            before = self.get(tenant_id, environment, name)
            if before is None:
                return False
            self._record(environment, name, before, after=None)
            del self._rows[tenant_id, name, environment]
        return True

    def _record(
        self, environment: str, name: str, before: Variable | None, *, after: str | None
    ) -> None:
        one = acting()
        if one is not None:
            one.changes.clear()
        place = f"{environment}/{name}" if environment else name
        note("variable", place, before=digest_of(before.value) if before else None, after=after)
        self._audit.record(one, wrote=True)


def _read(row: Variable) -> Variable:
    """Return a row with a value of the caller's own."""
    return replace(row, value=unpack(row.value)[0])
