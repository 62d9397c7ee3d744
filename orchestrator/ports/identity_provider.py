"""What is asked of a provider of identities. Whether its answers are believed: `services.access`.

Every method may raise ServiceUnavailable: the provider is out of reach, or answers nonsense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.models.access.identity_provider import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a provider publishes of itself. Its issuer is the one of the settings, by then."""

    authorization_endpoint: str
    token_endpoint: str
    #: Empty where there is none.
    jwks_uri: str
    userinfo_endpoint: str
    #: Of its ID tokens, as published: not all of them are safe.
    algorithms: tuple[str, ...]
    #: How the client tells the token endpoint who it is, as published.
    auth_methods: tuple[str, ...]
    #: It names itself in its answer through the browser (RFC 9207).
    names_itself: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What ties an answer to the question."""

    state: str
    nonce: str
    #: Of PKCE; only its digest leaves with the browser.
    verifier: str
    redirect_uri: str


class ProviderClient(Protocol):
    """Speaks with providers."""

    def metadata(self, provider: Provider) -> Metadata:
        """Return what the provider publishes of itself; remembered for a while."""

    def authorization_url(self, provider: Provider, challenge: Challenge) -> str:
        """Return where the browser goes to sign in."""

    def exchange(self, provider: Provider, code: str, challenge: Challenge) -> Mapping[str, Any]:
        """Trade a code for tokens; Unauthorized when the provider refuses it."""

    def keys(self, provider: Provider, *, anew: bool = False) -> Mapping[str, Any]:
        """Return the provider's public keys as a JWKS; with `anew` not much older than a moment."""

    def claims(self, provider: Provider, access_token: str) -> Mapping[str, Any]:
        """Return what the provider's API says of whose token it is, in the names of OIDC claims."""
