"""Where secrets and variables are kept, and how a secret's value is sealed.

Nothing here knows who may ask: the web layer asks for permissions, workers resolve for a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol
from uuid import UUID

from orchestrator.models.secret import Sealed, SealedSecret, Secret, Variable
from orchestrator.ports.quotas import QuotaChecks


class SecretBackend(Protocol):
    """Keeps values by tenant and name. SecretsUnavailable when it cannot be reached."""

    @property
    def place(self) -> str:
        """Where it keeps them, for people."""

    def list(self, tenant_id: UUID, *, after: str, limit: int) -> Sequence[Secret]:
        """Return secrets by name, those after a name; never a value."""

    def values(self, tenant_id: UUID, names: Sequence[str]) -> Mapping[str, str]:
        """Return the values of those of the names that this tenant has, and of no other's."""


class WritableBackend(SecretBackend, Protocol):
    """A backend that the API may change too."""

    def put(
        self, tenant_id: UUID, name: str, value: str, description: str | None
    ) -> tuple[Secret, bool]:
        """Keep a value; return the secret and whether it is new. None keeps the description."""

    def remove(self, tenant_id: UUID, name: str) -> bool:
        """Forget a secret; False when there is none."""


class SecretBox(Protocol):
    """Seals values. What is sealed opens only for the same tenant, name and version."""

    @property
    def newest(self) -> str:
        """The id of the master key that it seals with; SecretsUnavailable without any key."""

    def seal(self, tenant_id: UUID, name: str, version: int, value: str) -> Sealed:
        """Seal a value under the newest master key."""

    def open(self, secret: SealedSecret) -> str:
        """Return the value; SecretUnreadable when its key is gone or it was tampered with."""

    def rewrap(self, secret: SealedSecret) -> Sealed:
        """Put the data key under the newest master key, the value as it is; SecretUnreadable."""


class SecretWork(Protocol):
    """One transaction over the secrets of the record."""

    @property
    def quotas(self) -> QuotaChecks | None:
        """What counts against the tenant's quota of secrets; None where nothing does."""

    def get(self, tenant_id: UUID, name: str) -> SealedSecret | None:
        """Return a secret, locked until the transaction ends."""

    def put(self, secret: SealedSecret) -> Secret:
        """Store a secret in place of the one there was."""

    def remove(self, tenant_id: UUID, name: str) -> None:
        """Remove a secret."""

    def rewrap(self, secret: SealedSecret, sealed: Sealed) -> bool:
        """Store a data key anew; False when the secret is another one by now."""


class SecretRows(Protocol):
    """The secrets of the record, sealed."""

    def list(self, tenant_id: UUID, *, after: str, limit: int) -> Sequence[Secret]:
        """Return secrets by name, those after a name."""

    def sealed(self, tenant_id: UUID, names: Sequence[str]) -> Sequence[SealedSecret]:
        """Return those of the names that are there."""

    def under_other_keys(
        self, newest: str, *, after: tuple[UUID, str] | None, limit: int
    ) -> Sequence[SealedSecret]:
        """Return secrets of every tenant that are not under this master key, in a fixed order."""

    def begin(self) -> AbstractContextManager[SecretWork]:
        """Open a transaction; what is noted in it is audited in the same commit."""


class VariableRows(Protocol):
    """The variables of the record."""

    def list(
        self,
        tenant_id: UUID,
        *,
        environment: str | None,
        after: tuple[str, str] | None,
        limit: int,
    ) -> Sequence[Variable]:
        """Return variables by (name, environment), those after a pair; None: all environments."""

    def get(self, tenant_id: UUID, environment: str, name: str) -> Variable | None:
        """Return one variable."""

    def values(self, tenant_id: UUID, environment: str, names: Sequence[str]) -> dict[str, Any]:
        """Return the values that hold in an environment: its own win over those of all."""

    def put(
        self, tenant_id: UUID, environment: str, name: str, value: Any, description: str | None
    ) -> tuple[Variable, bool]:
        """Store a variable and note the change; return it and whether it is new."""

    def remove(self, tenant_id: UUID, environment: str, name: str) -> bool:
        """Remove a variable and note it; False when there is none."""
