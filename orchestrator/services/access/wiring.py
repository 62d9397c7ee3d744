"""How the parts of access hang together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.models.access.identity_provider import Provider
from orchestrator.models.access.secret_keys import SecretKeys
from orchestrator.ports.access import AccessCache, AccessStore
from orchestrator.ports.identity_provider import ProviderClient
from orchestrator.ports.runtime import Clock
from orchestrator.ports.store import Store
from orchestrator.services.access.facade import Access
from orchestrator.services.access.grants import Grants
from orchestrator.services.access.invitations import Invitations
from orchestrator.services.access.keys import Keys
from orchestrator.services.access.passwords import Passwords
from orchestrator.services.access.principals import Principals
from orchestrator.services.access.providers.identities import Identities
from orchestrator.services.access.providers.oidc import Oidc
from orchestrator.services.access.providers.pending import PendingSignIns
from orchestrator.services.access.reporting import Reporting
from orchestrator.services.access.roles import Roles
from orchestrator.services.access.sign_in.csrf import Csrf
from orchestrator.services.access.sign_in.lockout import Lockout
from orchestrator.services.access.sign_in.refresh_tokens import RefreshTokens
from orchestrator.services.access.sign_in.sessions import Sessions
from orchestrator.services.access.sign_in.signing_in import SigningIn
from orchestrator.services.access.sign_in.tickets import Tickets
from orchestrator.services.access.tenants import Tenants
from orchestrator.services.access.tokens import AccessTokens
from orchestrator.services.access.users import Users
from orchestrator.services.auditing import Auditing
from orchestrator.settings import Auth


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What access stands on."""

    store: AccessStore
    cache: AccessCache
    #: Where workflows are looked up, before somebody is granted one.
    workflows: Store
    clock: Clock
    passwords: Passwords | None = None
    auditing: Auditing | None = None
    #: Who else vouches for users, and how they are spoken with.
    providers: Sequence[Provider] = ()
    provider_client: ProviderClient | None = None


def wire(auth: Auth, parts: Parts) -> Access:
    """Return the facade. SettingsError for a secret key that will not do."""
    secrets = SecretKeys(auth.secret_key, auth.secret_keys_old)
    store, clock = parts.store, parts.clock
    passwords = parts.passwords or Passwords()
    reporting = Reporting(parts.auditing)
    tokens = AccessTokens(secrets, clock, life_s=auth.access_s)
    principals = Principals(store, parts.cache, tokens, clock, admin_key=auth.admin_key)
    sessions = Sessions(
        store,
        principals,
        tokens,
        RefreshTokens(secrets),
        clock,
        reporting,
        life_s=auth.refresh_s,
        idle_s=auth.session_idle_s,
    )
    lockout = Lockout(
        parts.cache,
        clock,
        attempts=auth.lockout_attempts,
        address_attempts=auth.lockout_address_attempts,
        window_s=auth.lockout_s,
    )
    signing_in = SigningIn(store, sessions, passwords, lockout, reporting)
    invitations = Invitations(store, passwords, clock, reporting)
    identities = Identities(store, principals, clock, reporting)
    oidc = Oidc(
        parts.providers,
        parts.provider_client,
        PendingSignIns(parts.cache, secrets, clock),
        identities,
        sessions,
        clock,
        reporting,
    )
    return Access(
        principals=principals,
        signing_in=signing_in,
        sessions=sessions,
        csrf=Csrf(secrets),
        tickets=Tickets(parts.cache, principals, secrets, clock),
        users=Users(store, principals, passwords, signing_in, invitations, clock, reporting),
        identities=identities,
        oidc=oidc,
        keys=Keys(store, principals, clock, reporting),
        roles=Roles(store, principals, clock, reporting),
        grants=Grants(store, parts.workflows, principals, clock, reporting),
        tenants=Tenants(store, clock, reporting),
    )
