"""What an installation keeps beside runs: secrets, variables, quotas, audit log, log lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from orchestrator.client.noun import Noun, given, part

if TYPE_CHECKING:
    from orchestrator.client.documents import (
        AuditDoc,
        Frame,
        QuotaDoc,
        SecretDoc,
        VariableDoc,
        VerdictDoc,
    )

_LINES = 1000


class Quotas(Noun):
    """What a tenant may use, and what it does use."""

    def list(self, tenant_id: str | None = None) -> Sequence[QuotaDoc]:
        """Return the quotas of a tenant, your own by default, with their present use."""
        path = "quotas" if tenant_id is None else f"quotas/{part(tenant_id)}"
        return [*self._http.json("GET", path)["items"]]

    def set(self, tenant_id: str, values: Mapping[str, int | None]) -> Sequence[QuotaDoc]:
        """Set quotas of a tenant: 0 for no limit, None for the default; return all of them."""
        return [*self._http.json("PUT", f"quotas/{part(tenant_id)}", json=dict(values))["items"]]


class Audit(Noun):
    """Who did what. `filters` are those of `GET /audit`."""

    def list(self, *, limit: int | None = None, **filters: Any) -> Sequence[AuditDoc]:
        """Return entries, newest first."""
        return [*self._http.every("audit", limit, **filters)]

    def verify(self, anchor: str | None = None) -> VerdictDoc:
        """Have the chain worked out anew; `anchor` is a head that was kept: `NO:DIGEST`."""
        params = given(anchor=anchor)
        found = self._http.json("GET", "audit/verify", params=params, timeout=None)
        return cast("VerdictDoc", found)

    def export(self, form: str = "ndjson", **filters: Any) -> Iterator[bytes]:
        """Yield the entries as a file, oldest first: `ndjson` or `csv`."""
        return self._http.download("audit/export", format=form, **given(**filters))


class Logs(Noun):
    """Log lines of nodes."""

    def of(self, run_id: str, **filters: Any) -> Iterator[Frame]:
        """Yield the lines of a run so far; `filters` are those of `GET /runs/{id}/logs`."""
        after: int | None = 0
        while after is not None:
            params = {**filters, "after": after, "limit": _LINES}
            page = self._http.json("GET", f"runs/{part(run_id)}/logs", params=params)
            yield from page["items"]
            last, after = after, page.get("next_cursor")
            if after == last:
                return

    def search(self, *, limit: int | None = None, **filters: Any) -> Iterator[Frame]:
        """Yield lines of all runs, newest first; `filters` are those of `GET /logs/history`."""
        return self._http.every("logs/history", limit, **filters)


class Secrets(Noun):
    """Values that only workers read, by name."""

    def list(self, *, limit: int | None = None) -> Sequence[SecretDoc]:
        """Return what is known of secrets, by name; nobody can read a value back."""
        return [*self._http.every("secrets", limit)]

    def set(self, name: str, value: str, *, description: str | None = None) -> SecretDoc:
        """Set a secret; without a description it keeps the one it has."""
        body = given(value=value, description=description)
        return cast("SecretDoc", self._http.json("PUT", f"secrets/{part(name)}", json=body))

    def delete(self, name: str) -> None:
        """Forget a secret; nodes that read it will fail."""
        self._http.request("DELETE", f"secrets/{part(name)}")


class Variables(Noun):
    """Plain values, by name, each of one environment (`""`: of all)."""

    def list(
        self, *, environment: str | None = None, limit: int | None = None
    ) -> Sequence[VariableDoc]:
        """Return variables, by name and environment; or only those of exactly one."""
        return [*self._http.every("variables", limit, environment=environment)]

    def set(
        self, name: str, value: Any, *, environment: str = "", description: str | None = None
    ) -> VariableDoc:
        """Set a variable to a JSON value; without a description it keeps the one it has."""
        body = {"value": value, "environment": environment, **given(description=description)}
        return cast("VariableDoc", self._http.json("PUT", f"variables/{part(name)}", json=body))

    def delete(self, name: str, *, environment: str = "") -> None:
        """Remove a variable; nodes that read it will fail."""
        params = {"environment": environment} if environment else {}
        self._http.request("DELETE", f"variables/{part(name)}", params=params)
