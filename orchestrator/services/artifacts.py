"""Artifacts, counted against the storage quota of the tenant that owns their run.

Counts first and stores then: a crash in between counts one file too many, never one too few.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from orchestrator.ports.reads import Reads
from orchestrator.ports.runtime import Artifact, Artifacts
from orchestrator.services.quotas import Quotas

_RUNS_KEPT = 1024


class CountedArtifacts:
    """Answers `ports.runtime.Artifacts` in front of another one. Files of a run that the record
    does not know are stored uncounted."""

    def __init__(self, inner: Artifacts, reads: Reads, quotas: Quotas) -> None:
        self._inner = inner
        self._reads = reads
        self._quotas = quotas
        self._tenants: OrderedDict[UUID, UUID] = OrderedDict()

    def put(
        self, run_id: UUID, name: str, data: bytes, content_type: str, node_id: str
    ) -> Artifact:
        """See the port. QuotaExceeded when the tenant may not keep that much more."""
        tenant_id = self._tenant_of(run_id)
        if tenant_id is None:
            return self._inner.put(run_id, name, data, content_type, node_id)
        more = len(data) - self._inner.size(run_id, name)
        return self._counted(
            tenant_id, more, lambda: self._inner.put(run_id, name, data, content_type, node_id)
        )

    def _counted(self, tenant_id: UUID, more: int, store: Callable[[], Artifact]) -> Artifact:
        self._quotas.count_bytes(tenant_id, more)
        try:
            return store()
        except Exception:
            self._quotas.give_bytes_back(tenant_id, more)
            raise

    def get(self, run_id: UUID, name: str) -> tuple[Artifact, bytes]:
        """See the port."""
        return self._inner.get(run_id, name)

    def list(self, run_id: UUID) -> Sequence[Artifact]:
        """See the port."""
        return self._inner.list(run_id)

    def size(self, run_id: UUID, name: str) -> int:
        """See the port."""
        return self._inner.size(run_id, name)

    def copy(self, run_id: UUID, name: str, to: UUID, as_name: str | None = None) -> Artifact:
        """See the port. QuotaExceeded as with `put`; counts for the tenant of the first run."""
        tenant_id = self._tenant_of(run_id)
        if tenant_id is None:
            return self._inner.copy(run_id, name, to, as_name)
        # The record does not know the other one yet.
        self._tenants[to] = tenant_id
        more = self._inner.size(run_id, name) - self._inner.size(to, name)
        return self._counted(tenant_id, more, lambda: self._inner.copy(run_id, name, to, as_name))

    def discard(self, run_id: UUID) -> None:
        """See the port. Gives back what the files counted for."""
        tenant_id = self._tenants.pop(run_id, None)
        held = sum(found.size_bytes for found in self._inner.list(run_id))
        self._inner.discard(run_id)
        if tenant_id is not None:
            self._quotas.give_bytes_back(tenant_id, held)

    def prune(self, before: datetime, gone: Callable[[UUID, int], None] | None = None) -> int:
        """See the port. Gives back what the removed files counted for."""

        def count_out(run_id: UUID, held: int) -> None:
            tenant_id = self._tenant_of(run_id)
            if tenant_id is not None:
                self._quotas.give_bytes_back(tenant_id, held)
            if gone is not None:
                gone(run_id, held)

        return self._inner.prune(before, count_out)

    def _tenant_of(self, run_id: UUID) -> UUID | None:
        known = self._tenants.get(run_id)
        if known is None:
            owner = self._reads.owners([run_id]).get(run_id)
            if owner is None:
                return None
            known = self._tenants[run_id] = owner[0]
            while len(self._tenants) > _RUNS_KEPT:
                self._tenants.popitem(last=False)
        return known
