"""The audit log in memory, for tests and dry runs: the same chain, the same digests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from threading import RLock
from uuid import UUID

from orchestrator.models.audit import (
    ORIGIN,
    AuditEntry,
    Happening,
    Head,
    chained,
    digest_of,
    recordable,
)
from orchestrator.ports.acting import Acting, Change, acting
from orchestrator.ports.audit import AuditFilter
from orchestrator.ports.runtime import Clock

_TEXTS = (
    "principal", "action", "resource", "resource_id", "detail", "address", "request_id",
)  # fmt: skip


class MemoryAudit:
    """Answers `ports.audit.Audit`. Its rows are open to tests that tamper with them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = RLock()
        self.rows: dict[UUID, list[AuditEntry]] = defaultdict(list)
        self.heads: dict[UUID, Head] = {}

    def record(self, acting: Acting | None, *, wrote: bool) -> None:
        """Record what a transaction has changed, or only that it `wrote` where nobody noted what.

        As on Postgres: nothing for the engine itself, nor for requests that may not write.
        """
        if acting is None or acting.action is None:
            return
        changes = [(c.resource, c.resource_id, c.before, c.after) for c in acting.changes]
        acting.changes.clear()
        for resource, resource_id, before, after in changes or [("", "", None, None)] * wrote:
            self.add(
                Happening(
                    tenant_id=acting.tenant_id,
                    principal_id=acting.principal.id,
                    principal_kind=str(acting.principal.kind),
                    principal=acting.principal.name,
                    action=acting.action,
                    resource=resource,
                    resource_id=resource_id,
                    before=before,
                    after=after,
                    detail=acting.detail,
                    address=acting.address,
                    request_id=acting.request_id,
                )
            )

    def record_move(self, resource_id: object, was: str, state: str, resource: str = "run") -> None:
        """Record that the acting request has moved a run, or a task of one."""
        one = acting()
        if one is not None:
            before, after = digest_of({"state": was}), digest_of({"state": state})
            one.changes[:] = [
                Change(resource=resource, resource_id=str(resource_id), before=before, after=after)
            ]
            self.record(one, wrote=True)

    def add(self, happening: Happening) -> None:
        """See the port."""
        with self._lock:
            told = asdict(happening)
            told |= {name: recordable(told[name]) for name in _TEXTS}
            tenant_id, now = happening.tenant_id, self._clock.now()
            head = self.heads.get(tenant_id) or Head(no=0, digest=ORIGIN)
            entry = AuditEntry(
                **told,
                no=head.no + 1,
                at=now.replace(microsecond=now.microsecond // 1000 * 1000),
                digest=b"",
            )
            entry = replace(entry, digest=chained(head.digest, entry))
            self.rows[tenant_id].append(entry)
            self.heads[tenant_id] = Head(no=entry.no, digest=entry.digest)

    def list(self, wanted: AuditFilter) -> Sequence[AuditEntry]:
        """See the port."""
        with self._lock:
            found = [e for e in self.rows[wanted.tenant_id] if _fits(e, wanted)]
        found.sort(key=lambda e: e.no, reverse=wanted.after is None)
        return found[: wanted.limit]

    def head(self, tenant_id: UUID) -> Head | None:
        """See the port."""
        return self.heads.get(tenant_id)

    def tenants(self) -> Sequence[UUID]:
        """See the port."""
        return sorted({t for t, rows in self.rows.items() if rows} | set(self.heads))


def _fits(entry: AuditEntry, wanted: AuditFilter) -> bool:
    same = {
        "action": wanted.action, "resource": wanted.resource, "resource_id": wanted.resource_id,
    }  # fmt: skip
    return (
        (wanted.before is None or entry.no < wanted.before)
        and (wanted.after is None or entry.no > wanted.after)
        and (wanted.since is None or entry.at >= wanted.since)
        and (wanted.until is None or entry.at < wanted.until)
        and wanted.principal in (None, entry.principal, _id(entry))
        and all(value in (None, getattr(entry, name)) for name, value in same.items())
    )


def _id(entry: AuditEntry) -> str:
    return str(entry.principal_id or "")
