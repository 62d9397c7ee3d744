"""The audit log: recording what is no write, reading it, checking that nobody touched it.

Writes are recorded by the record itself: services only say what they change, with `acting.note`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hmac import compare_digest
from typing import Any
from uuid import UUID

from orchestrator.models.access.permissions import Principal
from orchestrator.models.audit import ORIGIN, chained, digest_of
from orchestrator.models.definitions.saved import SavedWorkflow
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.acting import acting, note, origin
from orchestrator.ports.audit import Audit, AuditEntry, AuditFilter, Happening, Head
from orchestrator.ports.moves import NewRun

#: Entries in memory at a time while a chain is checked or exported.
PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a chain is as it was written."""

    #: How many entries were looked at and found right, from the first one on.
    entries: int
    #: The number of the first entry that is not as it was written, or not there; None: all is well.
    first_bad: int | None = None
    reason: str | None = None
    #: The end of the chain, where all is well: keep it outside as an anchor.
    head: Head | None = None

    @property
    def valid(self) -> bool:
        """True when nothing was edited, deleted, inserted or cut off."""
        return self.first_bad is None


class Auditing:
    """The use cases of the audit log. Safe to share between threads."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def happened(
        self,
        tenant_id: UUID | None,
        principal: Principal | str,
        action: str,
        address: str = "",
        request_id: str = "",
        detail: str = "",
        *,
        resource: str = "",
        resource_id: object = "",
    ) -> None:
        """Record what is no write of a request, such as a sign-in, in a commit of its own.

        A name in place of a principal is somebody who could not be told. Without a tenant either,
        it belongs to the first tenant's chain, and only the digest of the name is kept: people
        type passwords into the wrong field. `detail` says why, in a word or two. Without an address
        or a request's id, those of the request that this thread answers.
        """
        came = acting() or origin()
        known = principal if isinstance(principal, Principal) else None
        name = known.name if known else str(principal)
        if known is None and tenant_id is None:
            name = f"sha256:{digest_of(name.strip().lower())}" if name else ""
        self._audit.add(
            Happening(
                tenant_id=tenant_id or (known.tenant_id if known else DEFAULT_TENANT),
                principal_id=known.id if known else None,
                principal_kind=str(known.kind) if known else "unknown",
                principal=name,
                action=action,
                resource=resource,
                resource_id=str(resource_id),
                detail=detail,
                address=address or came.address,
                request_id=request_id or came.request_id,
            )
        )

    def list(self, wanted: AuditFilter) -> Sequence[AuditEntry]:
        """Return a page of a tenant's entries."""
        return self._audit.list(wanted)

    def pages(self, wanted: AuditFilter) -> Iterator[Sequence[AuditEntry]]:
        """Yield all entries that a filter finds, oldest first, a page in memory at a time.

        Only numbers that an entry can get: from 1 on.
        """
        last = wanted.after or 0
        while page := self._audit.list(replace(wanted, before=None, after=last, limit=PAGE)):
            yield page
            last = page[-1].no

    def tenants(self) -> Sequence[UUID]:
        """Return the tenants that have a chain."""
        return self._audit.tenants()

    def verify(self, tenant_id: UUID, anchor: Head | None = None) -> Verdict:
        """Work a tenant's chain out anew and compare, page by page; entries may be added meanwhile.

        An `anchor` is a head of an earlier day, kept where nobody with the database could reach it:
        only with one does a chain that was written anew from the start show.
        """
        chain = _Chain(anchor)
        for forged in self._audit.list(AuditFilter(tenant_id=tenant_id, before=1, limit=1)):
            chain.holds(forged)
            return chain.broken
        while True:
            for page in self.pages(AuditFilter(tenant_id=tenant_id, after=chain.no)):
                for entry in page:
                    if not chain.holds(entry):
                        return chain.broken
            head = self._audit.head(tenant_id)
            # The head is read last: it may be ahead of the entries read before, never behind.
            if head is None or head.no <= chain.no:
                return chain.ends(head)
            if not self._audit.list(AuditFilter(tenant_id=tenant_id, after=chain.no, limit=1)):
                return chain.ends(head)


class _Chain:
    """A chain as far as it has been followed."""

    def __init__(self, anchor: Head | None) -> None:
        self.no = 0
        self._digest = ORIGIN
        self._anchor = anchor
        self.broken = Verdict(entries=0)

    def _breaks(self, no: int, reason: str) -> bool:
        right = min(self.no, max(0, no - 1))
        self.broken = Verdict(entries=right, first_bad=no, reason=reason)
        return False

    def holds(self, entry: AuditEntry) -> bool:
        """Go on to the next entry; False where it does not follow, and `broken` says how."""
        if entry.no > self.no + 1:
            return self._breaks(self.no + 1, "the entry is missing")
        if entry.no != self.no + 1:
            return self._breaks(entry.no, "the entry has a number that no entry gets")
        if not compare_digest(chained(self._digest, entry), entry.digest):
            return self._breaks(entry.no, "the entry or its place is not as it was written")
        if self._anchor and self._anchor.no == entry.no and self._anchor.digest != entry.digest:
            return self._breaks(entry.no, "the entry is not the one of the anchor")
        self.no, self._digest = entry.no, entry.digest
        return True

    def ends(self, head: Head | None) -> Verdict:
        """Return the verdict over a chain that has been followed to its last entry."""
        at = head or Head(no=0, digest=ORIGIN)
        if at.no > self.no:
            self._breaks(self.no + 1, "the entry is missing: the end was cut off")
        elif at.no < self.no:
            self._breaks(at.no + 1, "the entry lies beyond the recorded end")
        elif at.digest != self._digest:
            self._breaks(max(1, self.no), "the recorded end has another digest")
        elif self._anchor and self._anchor.no > self.no:
            self._breaks(self.no + 1, "the entry is missing: the anchor lies beyond the end")
        else:
            return Verdict(entries=self.no, head=head)
        return self.broken


def note_workflow(
    saved: SavedWorkflow,
    definition: Mapping[str, Any],
    was: tuple[SavedWorkflow, Mapping[str, Any]] | None = None,
) -> None:
    """Note that the acting request stores a workflow, which `was` another one or is new."""
    if acting() is not None:
        before = _digest(*was) if was else None
        note("workflow", saved.id, before=before, after=_digest(saved, definition))


def _digest(saved: SavedWorkflow, definition: Mapping[str, Any]) -> str:
    return digest_of({"status": str(saved.status), "definition": definition})


def note_run(new: NewRun, **more: Any) -> None:
    """Note that the acting request starts a run; call it in the transaction that stores it."""
    if acting() is not None:
        told = {
            "workflow_id": new.workflow_id, "version": new.version, "trigger": str(new.trigger),
            "input": new.input, "tags": list(new.tags), "origin_run_id": new.origin_run_id, **more,
        }  # fmt: skip
        note("run", new.id, after=digest_of(told))
