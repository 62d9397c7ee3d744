"""CSRF tokens: bound to a session by a MAC, so that nothing has to be kept."""

from __future__ import annotations

import base64
import hmac
from uuid import UUID

from orchestrator.models.access.secret_keys import SecretKeys


class Csrf:
    """Makes and checks tokens."""

    def __init__(self, secrets: SecretKeys) -> None:
        self._keys = [one.key for one in secrets.derive("csrf tokens")]

    def token(self, session_id: UUID) -> str:
        """Return the token of a session."""
        return _token(self._keys[0], session_id)

    def fits(self, session_id: UUID, token: str) -> bool:
        """Tell, in constant time, whether a token belongs to a session."""
        given = token.encode("utf-8", "replace")
        fits = [hmac.compare_digest(_token(k, session_id).encode(), given) for k in self._keys]
        return any(fits)


def _token(key: bytes, session_id: UUID) -> str:
    digest = hmac.digest(key, session_id.bytes, "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
