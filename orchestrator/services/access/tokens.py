"""Access tokens: short-lived JSON Web Tokens, of one algorithm, read without any leniency.

A token says who and until when, and no more: what its owner may do is read from the record.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from orchestrator.errors import Unauthorized
from orchestrator.models.access.secret_keys import SecretKeys
from orchestrator.models.ids import uuid7
from orchestrator.ports.runtime import Clock

ALGORITHM = "HS256"
ISSUER, AUDIENCE = "zq", "zq/api"
MOST_BYTES = 4096
#: Seconds that clocks of two machines may differ.
LEEWAY_S = 5
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
#: The largest moment a claim may name, the year 9999.
_LAST = 253_402_300_799
_REFUSED = "send a valid credential as `Authorization: Bearer <key or token>`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says. The token of an API key has the key's id as `session_id` too."""

    subject: UUID
    tenant_id: UUID
    session_id: UUID
    expires_at: float
    #: Names of the permissions that a key's token is narrowed to; None: to nothing.
    scopes: tuple[str, ...] | None = None


class AccessTokens:
    """Issues and reads tokens. Safe to share between threads."""

    def __init__(self, secrets: SecretKeys, clock: Clock, *, life_s: float) -> None:
        self._clock = clock
        self.life_s = int(life_s)
        derived = secrets.derive("access tokens")
        self._keys = {one.id: OctKey.import_key(one.key) for one in derived}
        self._present = derived[0].id

    def issue(
        self,
        *,
        subject: UUID,
        tenant_id: UUID,
        session_id: UUID,
        scopes: Iterable[str] | None = None,
    ) -> str:
        """Return a token for `life_s` seconds."""
        now = self._clock.now()
        at = int(now.timestamp())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": str(subject), "tenant": str(tenant_id),
            "sid": str(session_id), "iat": at, "nbf": at, "exp": at + self.life_s,
            "jti": str(uuid7(now)),
        }  # fmt: skip
        if scopes is not None:
            claims["scope"] = " ".join(sorted(scopes))
        header = {"alg": ALGORITHM, "typ": "JWT", "kid": self._present}
        return jwt.encode(header, claims, self._keys[self._present], [ALGORITHM])

    def read(self, token: str) -> Claims:
        """Return what a good token says; Unauthorized, with one text, for every other.

        Nothing of it is looked at before its size, shape, header and signature are right.
        """
        if len(token) > MOST_BYTES or not _SHAPE.fullmatch(token):
            refuse()
        key = self._key(token.partition(".")[0])
        try:
            claims = jwt.decode(token, key, [ALGORITHM], decoder_cls=_StrictDecoder).claims
        except (JoseError, ValueError, RecursionError):
            refuse()
        return _checked(claims, self._clock.now())

    def _key(self, text: str) -> OctKey:
        """Return the key a header names, where the header is exactly what `issue` writes."""
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            header = json.loads(raw, cls=_StrictDecoder)
        except (binascii.Error, ValueError, RecursionError):
            refuse()
        if not isinstance(header, dict) or header.keys() != {"alg", "typ", "kid"}:
            refuse()
        kid = header["kid"]
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None or header["alg"] != ALGORITHM or header["typ"] != "JWT":
            refuse()
        return key


def _checked(claims: Mapping[str, Any], now: datetime) -> Claims:
    names = {"iss", "aud", "sub", "tenant", "sid", "iat", "nbf", "exp", "jti"}
    if claims.keys() - {"scope"} != names or claims["iss"] != ISSUER or claims["aud"] != AUDIENCE:
        refuse()
    issued, begins, ends = (_moment(claims[name]) for name in ("iat", "nbf", "exp"))
    at = now.timestamp()
    if ends <= at or begins > at + LEEWAY_S or issued > at + LEEWAY_S or ends <= begins:
        refuse()
    _id(claims["jti"])
    return Claims(
        subject=_id(claims["sub"]),
        tenant_id=_id(claims["tenant"]),
        session_id=_id(claims["sid"]),
        expires_at=ends,
        scopes=_scopes(claims),
    )


def _scopes(claims: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "scope" not in claims:
        return None
    scope = claims["scope"]
    if not isinstance(scope, str) or claims["sid"] != claims["sub"]:
        refuse()
    return tuple(scope.split())


def _moment(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _LAST:
        refuse()
    return value


def _id(value: object) -> UUID:
    if not isinstance(value, str) or len(value) != 36:
        refuse()
    try:
        return UUID(value)
    except ValueError:
        refuse()


def refuse() -> NoReturn:
    """Raise Unauthorized with the one text for every credential that is not good."""
    raise Unauthorized(_REFUSED) from None


class _StrictDecoder(json.JSONDecoder):
    """Reads an object whose names are all different, without NaN and infinities."""

    def __init__(self, **_options: Any) -> None:
        super().__init__(object_pairs_hook=_distinct, parse_constant=_no_constant)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)
