"""The one door to access: credentials become principals here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from orchestrator.models.access.permissions import Permission, Principal
from orchestrator.services.access.grants import Grants
from orchestrator.services.access.keys import Keys
from orchestrator.services.access.principals import Principals
from orchestrator.services.access.providers.identities import Identities
from orchestrator.services.access.providers.oidc import Oidc
from orchestrator.services.access.roles import Roles
from orchestrator.services.access.sign_in.csrf import Csrf
from orchestrator.services.access.sign_in.sessions import Sessions, SignedIn
from orchestrator.services.access.sign_in.signing_in import SigningIn
from orchestrator.services.access.sign_in.tickets import Tickets
from orchestrator.services.access.tenants import Tenants
from orchestrator.services.access.users import Users


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What `core.access` is. Every method may raise StoreUnavailable (503).

    `address` is the caller's, as the web layer trusts it; `agent` is its User-Agent.
    """

    principals: Principals
    signing_in: SigningIn
    sessions: Sessions
    csrf: Csrf
    tickets: Tickets
    users: Users
    identities: Identities
    oidc: Oidc
    keys: Keys
    roles: Roles
    grants: Grants
    tenants: Tenants

    def principal_of(self, bearer: str, address: str) -> Principal:
        """Return who sends a credential: the admin key, an API key or an access token.

        Unauthorized for everything else, with one text whatever is wrong with it.
        """
        return self.principals.of_bearer(bearer)

    def still(self, principal: Principal) -> Principal:
        """Return the principal as it is now, at most 15 s late; Unauthorized when it is void.

        What holds a principal for long (a socket) asks this every few seconds.
        """
        return self.principals.still(principal)

    def sign_in(self, email: str, password: str, *, address: str, agent: str) -> SignedIn:
        """Open a session with a password.

        Unauthorized with one text for an unknown account, a disabled one and a wrong password;
        TooManyAttempts (`retry_after_s`) for too many of either from an account or an address.
        """
        return self.signing_in.sign_in(email, password, address=address, agent=agent)

    def exchange_key(
        self, key: str, *, address: str, scopes: frozenset[Permission] | None = None
    ) -> SignedIn:
        """Return an access token for an API key, without a refresh token (client credentials).

        Unauthorized for every other credential; Forbidden for scopes that the key does not have.
        It is void, at the latest after 15 s, when the key is.
        """
        return self.sessions.exchange_key(key, address=address, scopes=scopes)

    def refresh(self, token: str, *, address: str, agent: str) -> SignedIn:
        """Trade a refresh token for new tokens; the old one is void.

        Unauthorized when it is not good; one that was traded before ends its whole session.
        """
        return self.sessions.refresh(token, address=address, agent=agent)

    def sign_out(self, principal: Principal) -> None:
        """End the session of a principal; does nothing for keys."""
        self.sessions.sign_out(principal)

    def csrf_token(self, session_id: UUID) -> str:
        """Return the token that a browser sends in `X-CSRF-Token` within this session."""
        return self.csrf.token(session_id)

    def csrf_fits(self, session_id: UUID, token: str) -> bool:
        """Tell, in constant time, whether a token belongs to a session."""
        return self.csrf.fits(session_id, token)

    def ticket(self, principal: Principal) -> str:
        """Return a socket ticket: good once, for 60 s. ChannelUnavailable while Redis is away."""
        return self.tickets.issue(principal)

    def take_ticket(self, ticket: str) -> Principal:
        """Use a ticket up; Unauthorized when it is unknown, used, old, or its owner is void."""
        return self.tickets.take(ticket)
