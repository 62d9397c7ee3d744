"""Whom a provider of identities means: links between its subjects and users. Rules: `oidc`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from orchestrator.errors import LastOwner
from orchestrator.models.ids import uuid7
from orchestrator.ports.access import AccessStore, Identity, User, UserState
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.principals import Principals
from orchestrator.services.access.reporting import Reporting, as_principal, told_of
from orchestrator.services.access.rules import (
    checked_email,
    checked_name,
    checked_roles,
    custom_of,
    gone,
    normal_email,
)


class Identities:
    """Answers for `core.access.identities`. For steps before anybody is signed in: no actor.

    What they change is in the audit log in the same commit, as done by the user concerned.
    """

    def __init__(
        self, store: AccessStore, principals: Principals, clock: Clock, reporting: Reporting
    ) -> None:
        self._store = store
        self._principals = principals
        self._clock = clock
        self._reporting = reporting

    def user(self, issuer: str, subject: str) -> User | None:
        """Return the user whom (issuer, subject) means; None when it is unknown."""
        with self._store.begin(any_tenant=True) as work:
            found = work.identities.find(issuer, subject)
            return work.users.get_user(found.tenant_id, found.user_id) if found else None

    def by_email(self, email: str) -> User | None:
        """Return the user with an address. Link only when the provider has verified it."""
        account = normal_email(email)
        if account is None:
            return None
        with self._store.begin(any_tenant=True) as work:
            found = work.users.by_email(account)
        return found[0] if found else None

    def link(self, user: User, issuer: str, subject: str) -> Identity:
        """Remember that a provider's subject is this user; NameTaken when it is another one."""
        identity = replace(_identity(user, issuer, subject), created_at=self._clock.now())
        with (
            self._reporting.on_behalf_of(user) as acting,
            self._store.begin(any_tenant=True) as work,
        ):
            acting.action, acting.detail = "auth.identity_linked", issuer
            self._reporting.changes("user", user.id, after={"issuer": issuer, "subject": subject})
            work.identities.add_identity(identity)
        return identity

    def create_user(
        self,
        *,
        tenant_id: UUID,
        email: str,
        name: str,
        roles: Sequence[str],
        identity: tuple[str, str] | None = None,
    ) -> User:
        """Store a user without a password (NameTaken); the deployment's rules gave the roles.

        Its first `identity`, (issuer, subject), is stored with it or not at all.
        """
        email = checked_email(email)
        now = self._clock.now()
        with (
            self._reporting.on_behalf_of() as acting,
            self._store.begin(any_tenant=True) as work,
        ):
            if work.tenants.get_tenant(tenant_id) is None:
                raise gone("tenant")
            user = User(
                id=uuid7(now), tenant_id=tenant_id, email=email,
                name=checked_name(name[:100], empty=True),
                roles=checked_roles(roles, custom_of(work, tenant_id)), state=UserState.ACTIVE,
                valid_from=now, created_at=now, updated_at=now,
            )  # fmt: skip
            acting.principal, acting.action = as_principal(user), "auth.user_created"
            acting.detail = identity[0] if identity else ""
            self._reporting.changes("user", user.id, after=told_of(user))
            work.users.add_user(user, None)
            if identity is not None:
                work.identities.add_identity(_identity(user, *identity))
        return user

    def set_roles(self, user_id: UUID, tenant_id: UUID, roles: Sequence[str]) -> User:
        """Store the roles that a provider's groups map to, where the deployment wants it so.

        LastOwner where that would leave the tenant without one; nothing is changed then. A role
        taken away ends the user's sessions.
        """
        now = self._clock.now()
        with (
            self._reporting.on_behalf_of() as acting,
            self._store.begin(any_tenant=True) as work,
        ):
            owners = work.users.owners(tenant_id)
            user = work.users.get_user(tenant_id, user_id, lock=True)
            if user is None:
                raise gone("user")
            wanted = checked_roles(roles, custom_of(work, tenant_id))
            if set(wanted) == set(user.roles):
                return user
            if owners == [user.id] and "owner" not in wanted:
                raise LastOwner
            changed = replace(user, roles=wanted, updated_at=now)
            if set(user.roles) - set(wanted):
                changed = replace(changed, valid_from=now)
                work.sessions.revoke_of_user(user.id, reason="roles", at=now)
            acting.principal, acting.action = as_principal(user), "auth.roles_changed"
            acting.detail = " ".join(wanted)
            self._reporting.changes("user", user.id, told_of(user), told_of(changed))
            work.users.change(changed)
        self._principals.changed(f"user:{user.id}")
        return changed


def _identity(user: User, issuer: str, subject: str) -> Identity:
    return Identity(
        issuer=issuer, subject=subject, tenant_id=user.tenant_id, user_id=user.id,
        created_at=user.created_at,
    )  # fmt: skip
