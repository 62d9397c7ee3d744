"""Access tokens: every way to bend one is answered like a missing one."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from orchestrator.errors import Unauthorized
from orchestrator.models.access.secret_keys import SecretKeys
from orchestrator.models.ids import DEFAULT_TENANT
from tests.factories import SECRET_KEY
from tests.integration.access_rig import ADDRESS, ADMIN_KEY, Rig
from tests.servers import Servers

KEY = SecretKeys(SECRET_KEY).derive("access tokens")[0]
OTHER = "another-installations-0a1b2c3d4e5f6a7b8c9d"


@pytest.fixture
def rig(servers: Servers) -> Rig:
    return Rig(servers)


def refused(rig: Rig, token: str) -> None:
    """Check that a credential is refused with the one text, and that nothing was looked up."""
    with pytest.raises(Unauthorized) as caught:
        rig.access.principal_of(token, ADDRESS)
    assert caught.value.detail == (
        "send a valid credential as `Authorization: Bearer <key or token>`"
    )
    assert caught.value.__cause__ is None


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and claims of a token."""
    head, body, _ = token.split(".")
    return read(head), read(body)


def read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=="))
    return found


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: str | dict[str, Any], claims: str | dict[str, Any], key: bytes = KEY.key) -> str:
    """Return a token with our own signature over whatever header and claims."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in (header, claims)]
    message = ".".join(encoded(text.encode()) for text in texts)
    return f"{message}.{encoded(hmac.digest(key, message.encode(), 'sha256'))}"


@pytest.fixture
def token(rig: Rig) -> str:
    rig.user("editor")
    return rig.sign_in().access_token


def test_a_token_says_who_and_no_more(rig: Rig, token: str) -> None:
    header, claims = parts(token)
    assert header == {"alg": "HS256", "typ": "JWT", "kid": KEY.id}
    assert set(claims) == {"iss", "aud", "sub", "tenant", "sid", "iat", "nbf", "exp", "jti"}
    assert claims["exp"] - claims["iat"] == 600
    principal = rig.access.principal_of(token, ADDRESS)
    assert (str(principal.id), str(principal.tenant_id)) == (claims["sub"], claims["tenant"])
    # What `signed` makes of the same parts is good: what is refused below is so for its reason.
    assert rig.access.principal_of(signed(header, claims), ADDRESS) == principal


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "NONE", "", "HS384", "RS256", "hs256"])
def test_no_other_algorithm(rig: Rig, token: str, alg: str) -> None:
    header, claims = parts(token)
    bent = signed({**header, "alg": alg}, claims)
    refused(rig, bent)
    refused(rig, bent.rpartition(".")[0] + ".")
    refused(rig, bent.rpartition(".")[0])


def test_no_missing_or_foreign_signature(rig: Rig, token: str) -> None:
    message, _, signature = token.rpartition(".")
    for other in ("", "A", signature[:-2], signature[1:], signature + "AAAA", "=" * 43):
        refused(rig, f"{message}.{other}")
    header, claims = parts(token)
    refused(rig, signed(header, claims, b""))
    refused(rig, signed(header, claims, b"\0" * 32))
    refused(rig, signed(header, claims, SECRET_KEY.encode()))


def test_no_key_confusion(rig: Rig, token: str) -> None:
    key = RSAKey.generate_key(2048)
    header, claims = parts(token)
    refused(rig, signed(header, claims, key.as_pem(private=False)))
    refused(rig, jwt.encode({**header, "alg": "RS256"}, claims, key, ["RS256"]))
    own = OctKey.generate_key(256)
    refused(rig, jwt.encode(header, claims, own))


def test_no_token_of_another_purpose_or_installation(rig: Rig, token: str) -> None:
    header, claims = parts(token)
    csrf = SecretKeys(SECRET_KEY).derive("csrf tokens")[0]
    refused(rig, signed({**header, "kid": csrf.id}, claims, csrf.key))
    refused(rig, signed(header, claims, csrf.key))
    other = SecretKeys(OTHER).derive("access tokens")[0]
    refused(rig, signed({**header, "kid": other.id}, claims, other.key))


@pytest.mark.parametrize(
    "more",
    [
        {"jku": "https://evil.example/keys"}, {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"x5u": "https://evil.example/c"}, {"x5c": []}, {"x5t": "a"}, {"crit": ["exp"], "exp": 1},
        {"crit": []}, {"b64": False, "crit": ["b64"]}, {"cty": "JWT"}, {"zip": "DEF"}, {"a": 1},
    ],
)  # fmt: skip
def test_no_other_header(rig: Rig, token: str, more: dict[str, Any]) -> None:
    header, claims = parts(token)
    refused(rig, signed({**header, **more}, claims))


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null", "/dev/null", "' OR 1=1 --", "https://evil.example/key", "", None,
        0, [KEY.id], {"a": 1}, KEY.id.upper() + "x", KEY.id + "\0", KEY.id[:-1], True, "0" * 3000,
    ],
)  # fmt: skip
def test_no_other_kid(rig: Rig, token: str, kid: object) -> None:
    header, claims = parts(token)
    refused(rig, signed({**header, "kid": kid}, claims))


@pytest.mark.parametrize("gone", ["alg", "typ", "kid"])
def test_no_header_is_missing(rig: Rig, token: str, gone: str) -> None:
    header, claims = parts(token)
    refused(rig, signed({k: v for k, v in header.items() if k != gone}, claims))
    refused(rig, signed({**header, "typ": "at+jwt"}, claims))


@pytest.mark.parametrize("gone", ["iss", "aud", "sub", "tenant", "sid", "iat", "nbf", "exp", "jti"])
@pytest.mark.parametrize("value", ["gone", None, "", [], {}, True, "x", 1.5, -1, 10**20])
def test_every_claim_is_there_and_of_its_type(
    rig: Rig, token: str, gone: str, value: object
) -> None:
    header, claims = parts(token)
    if value == "gone":
        del claims[gone]
    else:
        claims[gone] = value
    refused(rig, signed(header, claims))


@pytest.mark.parametrize(
    "bent",
    [
        {"exp": "4102444800"}, {"exp": 4102444800.5}, {"exp": 10**20}, {"iss": "zq/"},
        {"iss": ["zq"]}, {"aud": ["zq/api"]}, {"aud": "zq"}, {"aud": "zq/api/"},
        {"nbf": 4102444800}, {"iat": 4102444800}, {"exp": 0}, {"role": "owner"},
        {"sub": "00000000-0000-0000-0000-000000000001"}, {"tenant": str(uuid4())},
        {"sid": str(uuid4())}, {"sid": "' OR ''='"}, {"sub": "{" + "0" * 35},
        {"scope": "runs:read"}, {"scope": ""}, {"scope": None}, {"scope": ["runs:read"]},
    ],
)  # fmt: skip
def test_no_claim_of_another_value(rig: Rig, token: str, bent: dict[str, Any]) -> None:
    header, claims = parts(token)
    refused(rig, signed(header, {**claims, **bent}))


def test_no_claim_or_header_twice(rig: Rig, token: str) -> None:
    header, claims = parts(token)
    twice = json.dumps(claims)[:-1] + f', "tenant": "{uuid4()}"}}'
    refused(rig, signed(header, twice))
    refused(rig, signed(header, json.dumps(claims)[:-1] + f', "sub": "{claims["sub"]}"}}'))
    refused(rig, signed('{"alg": "none", ' + json.dumps(header)[1:], claims))


@pytest.mark.parametrize("text", ["[]", "1", "null", '"x"', "", "{", "NaN", "[" * 2000, "{}\n{}"])
def test_no_other_json(rig: Rig, token: str, text: str) -> None:
    header, claims = parts(token)
    refused(rig, signed(header, text))
    refused(rig, signed(text, claims))


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "a.b.c", "A" * 1_000_000, "A.A." + "A" * 1_000_000, "\0", "ключ",
     "\ud800", "eyJ.eyJ.eyJ.eyJ", "a.b.c\n", " a.b.c", "zqt_" + "A" * 43, "zqr_" + "A" * 70],
)  # fmt: skip
def test_no_other_text(rig: Rig, text: str) -> None:
    refused(rig, text)


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_no_claim_of_a_moment_to_come(rig: Rig, token: str, name: str) -> None:
    header, claims = parts(token)
    rig.access.principal_of(signed(header, {**claims, name: claims[name] + 4}), ADDRESS)
    refused(rig, signed(header, {**claims, name: claims[name] + 60}))


def test_a_good_token_of_more_than_4_kb_is_none(rig: Rig, token: str) -> None:
    header, claims = parts(token)
    padded = signed(header, json.dumps(claims) + " " * 2000)
    assert rig.access.principal_of(padded, ADDRESS).name == "ada@example.org"
    refused(rig, signed(header, json.dumps(claims) + " " * 4000))
    refused(rig, signed(json.dumps(header) + " " * 4000, claims))


def test_it_ends_in_time(rig: Rig, token: str) -> None:
    rig.clock.advance(599)
    rig.access.principal_of(token, ADDRESS)
    rig.clock.advance(1)
    refused(rig, token)


def test_it_is_void_before_its_time_but_for_a_skew_of_clocks(rig: Rig, token: str) -> None:
    rig.clock.advance(-4)
    rig.access.principal_of(token, ADDRESS)
    rig.clock.advance(-10)
    refused(rig, token)


def test_a_token_of_one_tenant_that_names_another_is_none(rig: Rig, token: str) -> None:
    other = rig.tenant()
    rig.user("owner", email="eve@example.org", tenant_id=other)
    eve = rig.sign_in("eve@example.org")
    header, claims = parts(token)
    _, hers = parts(eve.access_token)
    assert hers["tenant"] == str(other) != claims["tenant"] == str(DEFAULT_TENANT)
    for name in ("tenant", "sub", "sid"):
        refused(rig, signed(header, {**claims, name: hers[name]}))
    without = {k: v for k, v in claims.items() if k != "tenant"}
    refused(rig, signed(header, without))


def test_a_former_secret_key_still_opens_and_a_dropped_one_does_not(rig: Rig, token: str) -> None:
    new = "the-next-1f2e3d4c5b6a79880716253443526170"
    rotated = rig.process(secret_key=new, secret_keys_old=SECRET_KEY)
    assert rotated.principal_of(token, ADDRESS).name == "ada@example.org"
    signed_in = rotated.sign_in(
        "ada@example.org", "correct horse battery", address=ADDRESS, agent=""
    )
    assert parts(signed_in.access_token)[0]["kid"] != KEY.id
    dropped = rig.process(secret_key=new)
    assert dropped.principal_of(signed_in.access_token, ADDRESS).name == "ada@example.org"
    with pytest.raises(Unauthorized):
        dropped.principal_of(token, ADDRESS)


@pytest.mark.parametrize("key", ["", " ", ADMIN_KEY[:-1], ADMIN_KEY + " ", ADMIN_KEY.upper()])
def test_no_other_admin_key(rig: Rig, key: str) -> None:
    refused(rig, key)
    assert rig.access.principal_of(ADMIN_KEY, ADDRESS).tenant_id == DEFAULT_TENANT


def test_without_an_admin_key_nothing_is_one(servers: Servers) -> None:
    rig = Rig(servers, admin_key="")
    for text in ("", "\0" * 32, "None"):
        refused(rig, text)
