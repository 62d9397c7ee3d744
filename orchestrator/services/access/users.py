"""Users of a tenant: made, invited, changed and removed by those who may, and by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from orchestrator.errors import LastOwner, Unauthorized
from orchestrator.models.access.permissions import Principal, PrincipalKind
from orchestrator.models.ids import uuid7
from orchestrator.ports.access import AccessStore, AccessWork, Session, User, UserState
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.invitations import Invitation, Invitations
from orchestrator.services.access.passwords import Passwords
from orchestrator.services.access.principals import Principals
from orchestrator.services.access.reporting import Reporting, told_of
from orchestrator.services.access.rules import (
    checked_email,
    checked_name,
    checked_roles,
    custom_of,
    gone,
    grants_not_above,
    in_tenant,
    not_above,
)
from orchestrator.services.access.sign_in.signing_in import SigningIn


class Users:
    """Answers for `core.access.users`. Asks itself whether the actor may, beyond the permission of
    the route: nobody gives, takes or touches what is above them, be it a role or a grant
    (Forbidden), and a tenant keeps its last owner (LastOwner). Another tenant's user is NotFound.
    """

    def __init__(
        self,
        store: AccessStore,
        principals: Principals,
        passwords: Passwords,
        signing_in: SigningIn,
        invitations: Invitations,
        clock: Clock,
        reporting: Reporting,
    ) -> None:
        self._store = store
        self._principals = principals
        self._passwords = passwords
        self._signing_in = signing_in
        self._invitations = invitations
        self._clock = clock
        self._reporting = reporting

    def create(
        self,
        actor: Principal,
        *,
        email: str,
        name: str = "",
        roles: Sequence[str] = (),
        password: str | None = None,
        tenant_id: UUID | None = None,
    ) -> User:
        """Store a user. InvalidDefinition for a bad address, password or role; NameTaken.

        Without a password it signs in elsewhere, or after `invite`. `tenant_id` is for who may
        write tenants (Forbidden).
        """
        email = checked_email(email)
        known = None if password is None else self._passwords.hash(password, email=email)
        home = in_tenant(actor, tenant_id)
        with self._store.begin(any_tenant=home != actor.tenant_id) as work:
            return self._add(work, actor, home, email, name, roles, known)

    def invite(
        self,
        actor: Principal,
        *,
        email: str,
        name: str = "",
        roles: Sequence[str] = (),
        tenant_id: UUID | None = None,
    ) -> Invitation:
        """Store a user without a password, and return the token that `redeem` takes (7 days)."""
        email = checked_email(email)
        home = in_tenant(actor, tenant_id)
        with self._store.begin(any_tenant=home != actor.tenant_id) as work:
            user = self._add(work, actor, home, email, name, roles, None)
            return self._invitations.invite(work, user)

    def _add(
        self,
        work: AccessWork,
        actor: Principal,
        home: UUID,
        email: str,
        name: str,
        roles: Sequence[str],
        password: str | None,
    ) -> User:
        if work.tenants.get_tenant(home) is None:
            raise gone("tenant")
        custom = custom_of(work, home)
        wanted = checked_roles(roles, custom)
        not_above(actor, wanted, custom, home)
        now = self._clock.now()
        user = User(
            id=uuid7(now), tenant_id=home, email=email, name=checked_name(name, empty=True),
            roles=wanted, state=UserState.ACTIVE, valid_from=now, created_at=now, updated_at=now,
            has_password=password is not None,
        )  # fmt: skip
        self._reporting.changes("user", user.id, after=told_of(user))
        work.users.add_user(user, password)
        return user

    def reset(self, actor: Principal, user_id: UUID) -> Invitation:
        """Return a token by which the user may set a password (an invited user's: anew).

        Good for a day; earlier ones, an invitation too, are void.
        """
        with self._store.begin() as work:
            user = self._touchable(work, actor, user_id)
            self._reporting.changes("user", user.id)
            return self._invitations.reset(work, user)

    def redeem(self, token: str, password: str, *, name: str | None = None) -> User:
        """Set a password with a one-time token. Unauthorized when it is not good.

        InvalidDefinition for a bad password leaves the token good.
        """
        user = self._invitations.redeem(token, password, name=name)
        self._principals.changed(f"user:{user.id}")
        return user

    def get(self, actor: Principal, user_id: UUID) -> User:
        """Return a user of the actor's tenant."""
        with self._store.begin() as work:
            user = work.users.get_user(actor.tenant_id, user_id)
        if user is None:
            raise gone("user")
        return user

    def page(self, actor: Principal, *, after: UUID | None = None, limit: int = 50) -> list[User]:
        """Return users in the order of their ids."""
        with self._store.begin() as work:
            return work.users.page(actor.tenant_id, after=after, limit=limit)

    def change(
        self,
        actor: Principal,
        user_id: UUID,
        *,
        name: str | None = None,
        roles: Sequence[str] | None = None,
        state: UserState | None = None,
    ) -> User:
        """Change what is given. A role taken away or a disabled account ends its sessions.

        Whoever may not change users changes its own name only: the route says who comes here.
        """
        with self._store.begin() as work:
            custom = custom_of(work, actor.tenant_id)
            wanted = None if roles is None else checked_roles(roles, custom)
            owners = work.users.owners(actor.tenant_id)
            user = work.users.get_user(actor.tenant_id, user_id, lock=True)
            if user is None:
                raise gone("user")
            if user.id != actor.id or (wanted, state) != (None, None):
                not_above(actor, {*user.roles, *(wanted or ())}, custom, actor.tenant_id)
                grants = work.standing(actor.tenant_id, user.id).grants
                grants_not_above(actor, grants, custom)
            now = self._clock.now()
            changed = replace(
                user,
                name=user.name if name is None else checked_name(name, empty=True),
                roles=user.roles if wanted is None else wanted,
                state=state or user.state,
                updated_at=now,
            )
            if owners == [user.id] and not _is_owner(changed):
                raise LastOwner
            less = set(user.roles) - set(changed.roles) or changed.state is UserState.DISABLED
            if less:
                changed = replace(changed, valid_from=now)
                reason = "disabled" if changed.state is UserState.DISABLED else "roles"
                work.sessions.revoke_of_user(user.id, reason=reason, at=now)
            self._reporting.changes("user", user.id, told_of(user), told_of(changed))
            work.users.change(changed)
        self._principals.changed(f"user:{user.id}")
        return changed

    def set_password(self, actor: Principal, current: str, new: str, *, address: str) -> None:
        """Change the actor's own password; ends all its sessions, this one too, and its tokens.

        Unauthorized when the current one is wrong; counts as a sign-in does (TooManyAttempts).
        """
        if actor.kind is not PrincipalKind.USER:
            raise Unauthorized("only a user has a password")
        user, verified = self._signing_in.checked(actor.name, current, address=address)
        known = self._passwords.hash(new, email=user.email)
        now = self._clock.now()
        with self._store.begin() as work:
            # Holds the user, and finds out whether somebody else was quicker.
            held = work.users.hold(user.id, verified=verified)
            if held is None:
                raise Unauthorized("the password was changed just now")
            self._reporting.changes("user", user.id)
            work.users.set_password(user.id, known)
            work.users.change(replace(held, valid_from=now, updated_at=now))
            work.tokens.forget(user.id)
            work.sessions.revoke_of_user(user.id, reason="password", at=now)
        self._principals.changed(f"user:{user.id}")

    def delete(self, actor: Principal, user_id: UUID) -> None:
        """Remove a user, with its sessions and grants. Its API keys are the tenant's, and stay."""
        with self._store.begin() as work:
            owners = work.users.owners(actor.tenant_id)
            user = self._touchable(work, actor, user_id)
            if owners == [user.id]:
                raise LastOwner
            self._reporting.changes("user", user.id, before=told_of(user))
            work.grants.forget(actor.tenant_id, user.id)
            work.users.delete(actor.tenant_id, user.id)
        self._principals.changed(f"user:{user.id}")

    def sessions_of(self, actor: Principal, user_id: UUID) -> list[Session]:
        """Return the open sessions of a user, newest first."""
        with self._store.begin() as work:
            if work.users.get_user(actor.tenant_id, user_id) is None:
                raise gone("user")
            return work.sessions.of_user(user_id, self._clock.now())

    def revoke_sessions(self, actor: Principal, user_id: UUID) -> int:
        """End all sessions of a user; return how many."""
        with self._store.begin() as work:
            user = self._touchable(work, actor, user_id)
            self._reporting.changes("user", user.id)
            now = self._clock.now()
            ended = work.sessions.revoke_of_user(user.id, reason="revoked", at=now)
        self._principals.changed(f"user:{user.id}")
        return len(ended)

    def _touchable(self, work: AccessWork, actor: Principal, user_id: UUID) -> User:
        """Return a user of the actor's tenant who is not above the actor; held to the end."""
        user = work.users.get_user(actor.tenant_id, user_id, lock=True)
        if user is None:
            raise gone("user")
        if user.id != actor.id:
            custom = custom_of(work, actor.tenant_id)
            not_above(actor, user.roles, custom, actor.tenant_id)
            grants_not_above(actor, work.standing(actor.tenant_id, user.id).grants, custom)
        return user


def _is_owner(user: User) -> bool:
    return "owner" in user.roles and user.state is UserState.ACTIVE
