"""ID tokens of OpenID Connect: read without any leniency, with the provider's public keys only.

The algorithm is one that the provider publishes and that is asymmetric: `none`, and HMAC with a
public key as its secret, are never looked at. What a header offers as a key is never used.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import import_key

from orchestrator.errors import Unauthorized
from orchestrator.models.access.identity_provider import Provider

#: Seconds that the provider's clock and this machine's may differ.
SKEW_S = 30
MOST_BYTES = 16_384
MOST_SUBJECT = 255
#: Algorithm -> type of key.
_SAFE: Mapping[str, str] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
}
_LEAST_RSA_BITS = 2048
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class UnknownKey(Exception):
    """The token names a key that is not among those given: the provider may have a new one."""


def refuse(reason: str) -> NoReturn:
    """Raise Unauthorized with one text; the reason is for the audit log."""
    raise Unauthorized("the provider's answer is not good; sign in again", reason=reason) from None


def read_id_token(
    token: object,
    provider: Provider,
    keys: Mapping[str, Any],
    *,
    algorithms: tuple[str, ...],
    nonce: str,
    now: datetime,
) -> dict[str, Any]:
    """Return the claims of a good token; Unauthorized for every other, or UnknownKey."""
    if not isinstance(token, str) or len(token) > MOST_BYTES or not _SHAPE.fullmatch(token):
        refuse("id_token: shape")
    header = _header(token)
    alg, kid = header.get("alg"), header.get("kid")
    if not isinstance(alg, str) or alg not in _SAFE or alg not in algorithms:
        refuse("id_token: algorithm")
    if "crit" in header or "b64" in header:
        refuse("id_token: header")
    found = _key(keys, kid, alg)
    try:
        claims = jwt.decode(token, import_key(found), [alg], decoder_cls=_Strict).claims
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        refuse("id_token: signature")
    _check(claims, provider, nonce, now.timestamp())
    return claims


def _header(token: str) -> dict[str, Any]:
    text = token.partition(".")[0]
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        header = json.loads(raw, cls=_Strict)
    except (ValueError, RecursionError):
        refuse("id_token: header")
    if not isinstance(header, dict):
        refuse("id_token: header")
    return header


def _key(keys: Mapping[str, Any], kid: object, alg: str) -> dict[str, Any]:
    """Return the one public key that fits; UnknownKey when there is none."""
    listed = keys.get("keys")
    fitting = [
        key
        for key in (listed if isinstance(listed, list) else ())
        if isinstance(key, dict)
        and key.get("kty") == _SAFE[alg]
        and key.get("alg") in (None, alg)
        and key.get("use") in (None, "sig")
        and (kid is None or key.get("kid") == kid)
    ]
    if not fitting:
        raise UnknownKey
    if len(fitting) > 1:
        refuse("id_token: which key")
    key = {name: value for name, value in fitting[0].items() if name in _PUBLIC}
    if key["kty"] == "RSA" and _bits(key.get("n")) < _LEAST_RSA_BITS:
        refuse("id_token: weak key")
    return key


#: Of a key, all that verifying takes.
_PUBLIC = frozenset({"kty", "n", "e", "crv", "x", "y"})


def _bits(number: object) -> int:
    """Return about how long a number in base64 is."""
    return len(number) * 6 if isinstance(number, str) else 0


def _check(claims: Mapping[str, Any], provider: Provider, nonce: str, at: float) -> None:
    if claims.get("iss") != provider.issuer:
        refuse("id_token: iss")
    _check_audience(claims, provider.client_id)
    expires, issued = _moment(claims.get("exp")), _moment(claims.get("iat"))
    begins = _moment(claims.get("nbf", issued))
    if expires + SKEW_S <= at or expires <= issued:
        refuse("id_token: expired")
    if max(issued, begins) - SKEW_S > at:
        refuse("id_token: from the future")
    said = claims.get("nonce")
    given = said.encode("utf-8", "replace") if isinstance(said, str) else b""
    if not hmac.compare_digest(given, nonce.encode()):
        refuse("id_token: nonce")
    checked_subject(claims)


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    if client_id not in listed:
        refuse("id_token: aud")
    party = claims.get("azp")
    if (party is not None or len(listed) > 1) and party != client_id:
        refuse("id_token: azp")


def checked_subject(claims: Mapping[str, Any]) -> str:
    """Return the subject; Unauthorized where there is none."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MOST_SUBJECT:
        refuse("no subject")
    if not subject.isprintable():
        refuse("no subject")
    return subject


def _moment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        refuse("id_token: times")
    return float(value)


class _Strict(json.JSONDecoder):
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
