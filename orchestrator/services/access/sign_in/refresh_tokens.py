"""Refresh tokens: which session and which generation of it, under a MAC of the installation.

A session's tokens are a row that cannot fork: each follows from (session, generation) and the
secret key. Why, and what that means for two refreshes at once: docs/decisions/0007.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from orchestrator.models.access.secret_keys import SecretKeys

_TOKEN = re.compile(r"zqr_([A-Za-z0-9_-]{70})")
_MOST_GENERATIONS = 2**32


@dataclass(frozen=True, slots=True)
class Presented:
    """A token of this installation, good or used up."""

    session_id: UUID
    generation: int
    digest: bytes


class RefreshTokens:
    """Makes tokens and recognises its own."""

    def __init__(self, secrets: SecretKeys) -> None:
        self._keys = [one.key for one in secrets.derive("refresh tokens")]

    def make(self, session_id: UUID, generation: int) -> str:
        """Return the token of a session's generation."""
        return next(self.all(session_id, generation))

    def all(self, session_id: UUID, generation: int) -> Iterator[str]:
        """Yield that token as each secret key makes it, the present one first."""
        body = session_id.bytes + (generation % _MOST_GENERATIONS).to_bytes(4)
        for key in self._keys:
            signed = body + hmac.digest(key, body, "sha256")
            yield f"zqr_{base64.urlsafe_b64encode(signed).rstrip(b'=').decode()}"

    def read(self, token: str) -> Presented | None:
        """Return what a token says; None when this installation never made it."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            return None
        try:
            signed = base64.urlsafe_b64decode(found[1] + "==")
        except (binascii.Error, ValueError):
            return None
        session_id, generation = UUID(bytes=signed[:16]), int.from_bytes(signed[16:20])
        given = token.encode()
        fits = [
            hmac.compare_digest(one.encode(), given) for one in self.all(session_id, generation)
        ]
        if not any(fits):
            return None
        return Presented(session_id, generation, digest_of(token))


def digest_of(token: str) -> bytes:
    """Return what is kept of a token."""
    return sha256(token.encode()).digest()
