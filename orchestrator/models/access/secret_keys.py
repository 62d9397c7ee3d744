"""The installation's secret keys, and the keys of single purposes derived from them.

Nothing is signed or sealed with a secret key itself, so no purpose can be played against another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from orchestrator.errors import SettingsError

LEAST_BYTES = 32
#: Fewer different characters than this were typed by hand.
_LEAST_VARIETY = 10
_PLACEHOLDER = re.compile(
    r"(?:(?:change|replace)[-_ .]?(?:me|it|this)|secret|key|password|passphrase|example|default"
    r"|insecure|testing|test|development|dev|production|placeholder|random|string|value|token"
    r"|signing|your|this|my|the|an|a|some|super|very|not|so|for|is|use|only|here|long|zqautonxg|zq"
    r"|[-_ .:0-9x])+",
    re.IGNORECASE,
)
_REMEDY = (
    "set ZQ_AUTH__SECRET_KEY (or ..._FILE) to 32 or more random bytes, such as"
    " `openssl rand -hex 32` prints, the same for every process; with embedded servers `zq up`"
    " makes one by itself"
)


@dataclass(frozen=True, slots=True)
class DerivedKey:
    """A key for one purpose, from one secret key. `id` may be told to everybody."""

    id: str
    key: bytes = field(repr=False)


class SecretKeys:
    """The present secret key, which makes everything new, and former ones, which still open."""

    def __init__(self, present: str, former: str = "") -> None:
        """Take the settings as they are: `former` is comma-separated.

        SettingsError, with the remedy, for none, a short one, or one that anybody could guess.
        """
        self._secrets = tuple(
            dict.fromkeys(
                checked_secret(text.strip()) for text in (present, *filter(None, former.split(",")))
            )
        )

    def derive(self, purpose: str) -> tuple[DerivedKey, ...]:
        """Return the 256-bit keys of a purpose, the present one first."""
        return tuple(_derive(secret, purpose) for secret in self._secrets)


def checked_secret(text: str) -> str:
    """Return a secret key that will do; SettingsError for any other, without repeating it."""
    if not text:
        raise SettingsError(f"there is no secret key: {_REMEDY}")
    if len(text.encode()) < LEAST_BYTES:
        raise SettingsError(f"a secret key is shorter than {LEAST_BYTES} bytes: {_REMEDY}")
    if len(set(text)) < _LEAST_VARIETY or _PLACEHOLDER.fullmatch(text):
        raise SettingsError(f"a secret key is a placeholder that others know: {_REMEDY}")
    return text


@lru_cache(maxsize=64)
def _derive(secret: str, purpose: str) -> DerivedKey:
    def expand(info: str, length: int) -> bytes:
        kdf = HKDF(algorithm=SHA256(), length=length, salt=None, info=f"zq {info}".encode())
        return kdf.derive(secret.encode())

    return DerivedKey(expand(f"id of {purpose}", 8).hex(), expand(purpose, 32))
