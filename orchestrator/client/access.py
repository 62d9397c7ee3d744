"""Who may come in and what they may do: the account, users, keys, roles, tenants, grants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from orchestrator.client.noun import Noun, given, new_key, part

if TYPE_CHECKING:
    from orchestrator.client.documents import (
        GrantDoc,
        InvitationDoc,
        KeyDoc,
        MeDoc,
        NewKeyDoc,
        RoleDoc,
        SessionDoc,
        SignedInDoc,
        TenantDoc,
        UserDoc,
    )


class Account(Noun):
    """Who asks, and how one signs in and out."""

    def me(self) -> MeDoc:
        """Return who asks, and what it may do."""
        return cast("MeDoc", self._http.json("GET", "auth/me"))

    def login(self, email: str, password: str) -> SignedInDoc:
        """Sign in and return the tokens; ApiError 401. The client itself stays who it was."""
        body = {"email": email, "password": password}
        return cast("SignedInDoc", self._http.json("POST", "auth/login", json=body))

    def logout(self) -> None:
        """End the session of the token that the client has."""
        self._http.request("POST", "auth/logout")

    def accept(self, token: str, password: str) -> UserDoc:
        """Set a password with the token of an invitation or a reset."""
        body = {"token": token, "password": password}
        return cast("UserDoc", self._http.json("POST", "auth/accept", json=body))


class Users(Noun):
    """The people of a tenant, by their ids."""

    def list(self, *, limit: int | None = None) -> Sequence[UserDoc]:
        """Return users, oldest first."""
        return [*self._http.every("users", limit)]

    def get(self, user_id: str) -> UserDoc:
        """Return one user; ApiError 404."""
        return cast("UserDoc", self._http.json("GET", f"users/{part(user_id)}"))

    def create(
        self, email: str, *, name: str = "", roles: Iterable[str] = (), password: str | None = None
    ) -> UserDoc:
        """Make a user. Without a password it signs in elsewhere, or after a reset."""
        body = given(email=email, name=name, roles=[*roles], password=password)
        return cast("UserDoc", self._http.json("POST", "users", json=body))

    def invite(self, email: str, *, name: str = "", roles: Iterable[str] = ()) -> InvitationDoc:
        """Make a user without a password, and the token with which it sets one."""
        body = {"email": email, "name": name, "roles": [*roles]}
        return cast("InvitationDoc", self._http.json("POST", "users/invite", json=body))

    def change(
        self, user_id: str, *, name: str | None = None, roles: Iterable[str] | None = None,
        state: str | None = None,
    ) -> UserDoc:  # fmt: skip
        """Change a user; what is not given stays. `state` is `active` or `disabled`."""
        wanted = given(name=name, roles=None if roles is None else [*roles], state=state)

        def changed(user: UserDoc) -> dict[str, Any]:
            there = {"name": user["name"], "roles": user["roles"], "state": user["state"]}
            return {**there, **wanted}

        return cast("UserDoc", self._http.changed(f"users/{part(user_id)}", changed))

    def reset(self, user_id: str) -> InvitationDoc:
        """Return a token with which the user sets another password."""
        return cast("InvitationDoc", self._http.json("POST", f"users/{part(user_id)}/reset"))

    def delete(self, user_id: str) -> None:
        """Remove a user with its sessions and grants."""
        self._http.request("DELETE", f"users/{part(user_id)}")

    def sessions(self, user_id: str) -> Sequence[SessionDoc]:
        """Return the open sessions of a user, newest first."""
        return [*self._http.json("GET", f"users/{part(user_id)}/sessions")["items"]]

    def end_sessions(self, user_id: str) -> None:
        """End all sessions of a user."""
        self._http.request("DELETE", f"users/{part(user_id)}/sessions")


class Keys(Noun):
    """The keys of machines, by their ids. A key itself is in the answer that makes it, only."""

    def list(self, *, limit: int | None = None) -> Sequence[KeyDoc]:
        """Return keys, oldest first, revoked ones too."""
        return [*self._http.every("api-keys", limit)]

    def get(self, key_id: str) -> KeyDoc:
        """Return what is known of a key; ApiError 404."""
        return cast("KeyDoc", self._http.json("GET", f"api-keys/{part(key_id)}"))

    def create(
        self, name: str, *, roles: Iterable[str] = (), scopes: Iterable[str] | None = None,
        expires_at: str | None = None,
    ) -> NewKeyDoc:  # fmt: skip
        """Make a key. `scopes`: only these permissions of its roles; `expires_at` in RFC 3339."""
        body = {"name": name, "roles": [*roles], "expires_at": expires_at}
        body["scopes"] = None if scopes is None else [*scopes]
        made = self._http.json("POST", "api-keys", json=body, headers=new_key())
        return cast("NewKeyDoc", made)

    def rotate(self, key_id: str, *, overlap_s: int = 86_400) -> NewKeyDoc:
        """Make the next key with the same rights; the old one works for `overlap_s` more."""
        path, body = f"api-keys/{part(key_id)}/rotate", {"overlap_s": overlap_s}
        made = self._http.json("POST", path, json=body, headers=new_key())
        return cast("NewKeyDoc", made)

    def revoke(self, key_id: str) -> None:
        """Make a key void at once."""
        self._http.request("DELETE", f"api-keys/{part(key_id)}")


class Roles(Noun):
    """The built-in roles, and those a tenant makes of single permissions; by name."""

    def list(self) -> Sequence[RoleDoc]:
        """Return built-in roles, then the tenant's own by name."""
        return [*self._http.json("GET", "roles")["items"]]

    def get(self, name: str) -> RoleDoc:
        """Return one role; ApiError 404."""
        return cast("RoleDoc", self._http.json("GET", f"roles/{part(name)}"))

    def create(self, name: str, permissions: Iterable[str], *, description: str = "") -> RoleDoc:
        """Make a role. It holds no more than you may do yourself."""
        body = {"name": name, "description": description, "permissions": [*permissions]}
        return cast("RoleDoc", self._http.json("POST", "roles", json=body))

    def change(
        self, name: str, *, add: Iterable[str] = (), remove: Iterable[str] = (),
        description: str | None = None,
    ) -> RoleDoc:  # fmt: skip
        """Change a role of the tenant's own; what is not given stays."""

        def changed(role: RoleDoc) -> dict[str, Any]:
            return {
                "description": role["description"] if description is None else description,
                "permissions": sorted({*role["permissions"], *add} - {*remove}),
            }

        return cast("RoleDoc", self._http.changed(f"roles/{part(name)}", changed))

    def delete(self, name: str) -> None:
        """Remove a role of the tenant's own; whoever has it loses what it gave."""
        self._http.request("DELETE", f"roles/{part(name)}")


class Tenants(Noun):
    """The tenants of an installation, for those who run it."""

    def list(self, *, limit: int | None = None) -> Sequence[TenantDoc]:
        """Return the tenants, oldest first."""
        return [*self._http.every("tenants", limit)]

    def create(self, name: str) -> TenantDoc:
        """Make a tenant."""
        return cast("TenantDoc", self._http.json("POST", "tenants", json={"name": name}))

    def invite(self, tenant_id: str, email: str, *, name: str = "") -> InvitationDoc:
        """Invite an owner of a tenant, who then invites everybody else there."""
        path, body = f"tenants/{part(tenant_id)}/invite", {"email": email, "name": name}
        return cast("InvitationDoc", self._http.json("POST", path, json=body))


class Grants(Noun):
    """Who may do more with one workflow than their roles say."""

    def list(self, workflow_id: str) -> Sequence[GrantDoc]:
        """Return the grants on a workflow, oldest first."""
        return [*self._http.json("GET", f"workflows/{part(workflow_id)}/grants")["items"]]

    def change(
        self, workflow_id: str, *, give: Mapping[str, str] | None = None, take: Iterable[str] = ()
    ) -> Sequence[GrantDoc]:
        """Give roles to users and keys, by id, take what others have; return all grants then."""
        taken = {*take}

        def changed(there: Any) -> dict[str, Any]:
            roles = {grant["principal_id"]: grant["role"] for grant in there["items"]}
            roles |= give or {}
            items = [{"principal_id": w, "role": r} for w, r in roles.items() if w not in taken]
            return {"items": items}

        return [*self._http.changed(f"workflows/{part(workflow_id)}/grants", changed)["items"]]
