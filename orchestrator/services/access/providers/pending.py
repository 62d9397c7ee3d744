"""Sign-ins that have gone to a provider and not come back: each kept for minutes, and good once.

What is kept in the cache stands under a MAC, and is bound to the browser that went.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass
from hashlib import sha256

from orchestrator.models.access.secret_keys import SecretKeys
from orchestrator.ports.access import AccessCache
from orchestrator.ports.identity_provider import Challenge
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.providers.id_tokens import refuse

#: Seconds somebody may take to sign in at the provider.
PENDING_S = 600.0
_STATE = re.compile(r"[A-Za-z0-9_-]{43}")
_MAC_CHARACTERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A sign-in that is under way."""

    provider: str
    challenge: Challenge
    #: The local path to go on to.
    then: str
    #: Tokens go into the answer, and not into cookies.
    bearer: bool


class PendingSignIns:
    """Keeps and takes sign-ins. ChannelUnavailable while the cache is away."""

    def __init__(self, cache: AccessCache, keys: SecretKeys, clock: Clock) -> None:
        self._cache = cache
        self._keys = [one.key for one in keys.derive("sign-ins at providers")]
        self._clock = clock

    def keep(self, pending: Pending, browser: str) -> None:
        """Keep a sign-in for whoever brings its state, from a browser that brings this secret."""
        digest = _digest(pending.challenge.state)
        kept = {**asdict(pending), "until": self._clock.now().timestamp() + PENDING_S}
        text = json.dumps(kept)
        mac = _mac(self._keys[0], digest, browser, text)
        self._cache.put_ticket(digest, f"{mac}{text}", ttl_s=PENDING_S)

    def take(self, state: str, browser: str) -> Pending:
        """Use a sign-in up; Unauthorized where there is none, or it is another browser's."""
        if not _STATE.fullmatch(state):
            refuse("state: none")
        digest = _digest(state)
        signed = self._cache.take_ticket(digest) or ""
        if not signed:
            refuse("state: unknown or used")
        mac, text = signed[:_MAC_CHARACTERS], signed[_MAC_CHARACTERS:]
        given = mac.encode()
        fits = [hmac.compare_digest(_mac(k, digest, browser, text).encode(), given)
                for k in self._keys]  # fmt: skip
        if not any(fits):
            refuse("state: of another browser")
        kept = json.loads(text)
        if kept.pop("until") <= self._clock.now().timestamp():
            refuse("state: old")
        return Pending(**{**kept, "challenge": Challenge(**kept["challenge"])})


def fresh_secret() -> str:
    """Return 256 random bits, as states, nonces and verifiers are."""
    return secrets.token_urlsafe(32)


def _digest(state: str) -> str:
    return sha256(f"sign-in {state}".encode()).hexdigest()


def _mac(key: bytes, digest: str, browser: str, text: str) -> str:
    bound = sha256(browser.encode("utf-8", "replace")).hexdigest()
    return hmac.digest(key, f"{digest} {bound} {text}".encode(), "sha256").hex()
