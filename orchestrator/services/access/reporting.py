"""Telling the audit log: in the commit of a request's write, or by itself where nobody acts yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from orchestrator.models.access.permissions import Principal, PrincipalKind
from orchestrator.models.audit import digest_of
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.access import User
from orchestrator.ports.acting import Acting, acting, acting_as, note, origin
from orchestrator.services.auditing import Auditing

#: Until it shows who acts; nothing is ever recorded under this name.
_NOBODY = Principal(
    id=UUID(int=0), kind=PrincipalKind.USER, name="", tenant_id=DEFAULT_TENANT
)  # fmt: skip


def as_principal(user: User) -> Principal:
    """Return a user as it stands in the audit log: it may do nothing."""
    return Principal(
        id=user.id, kind=PrincipalKind.USER, name=user.email, tenant_id=user.tenant_id
    )  # fmt: skip


def told_of(user: User) -> dict[str, object]:
    """Return what the audit log's digests of a user are made of."""
    return {
        "email": user.email, "name": user.name, "roles": sorted(user.roles),
        "state": str(user.state),
    }  # fmt: skip


class Reporting:
    """What the services of access say about what they did. Without an audit log it says nothing."""

    def __init__(self, auditing: Auditing | None) -> None:
        self._auditing = auditing

    def changes(
        self, resource: str, resource_id: object, before: Any = None, after: Any = None
    ) -> None:
        """Note a change inside the transaction that makes it; `before` and `after` are JSON."""
        note(
            resource,
            resource_id,
            before=None if before is None else digest_of(before),
            after=None if after is None else digest_of(after),
        )

    @contextmanager
    def on_behalf_of(self, user: User | None = None, *, address: str = "") -> Iterator[Acting]:
        """Let a user act who has no credential yet: what it changes is recorded with the change.

        Who it is may show only in the transaction: then set `principal`, to what `as_principal`
        returns. Set the `action` before the transaction ends; without one nothing is recorded.
        """
        came = origin()
        one = Acting(
            principal=_NOBODY if user is None else as_principal(user),
            address=address or came.address, request_id=came.request_id,
        )  # fmt: skip
        with acting_as(one):
            yield one

    def happened(
        self,
        tenant_id: UUID | None,
        principal: Principal | str,
        action: str,
        *,
        address: str = "",
        detail: str = "",
        resource: str = "",
        resource_id: object = "",
        refused: bool = False,
    ) -> None:
        """Record a step, unless a request that acts records it with its own write.

        What was `refused` is recorded in any case: it writes nothing that could carry the entry.
        """
        one = acting()
        told = one is not None and one.action is not None and not refused
        if self._auditing is None or told:
            return
        self._auditing.happened(
            tenant_id, principal, action, address, "", detail,
            resource=resource, resource_id=resource_id,
        )  # fmt: skip
