"""ID tokens, forged in every way that has worked somewhere, and the settings of providers."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from orchestrator.errors import SettingsError, Unauthorized
from orchestrator.models.access.identity_provider import Provider, read_providers
from orchestrator.services.access.providers.id_tokens import UnknownKey, read_id_token

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
ISSUER, CLIENT, NONCE = "https://id.example.org", "zq", "n-0S6_WzA2Mj"
GIVEN: dict[str, Any] = {"name": "corp", "issuer": ISSUER, "client_id": CLIENT}
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
KEYS = {"keys": [key.as_dict(private=False) for key in (RSA, EC)]}
ALL = ("RS256", "PS256", "ES256", "none", "HS256", "HS384", "HS512")
CLAIMS: dict[str, Any] = {
    "iss": ISSUER, "sub": "s-1", "aud": CLIENT, "nonce": NONCE, "iat": AT - 5, "exp": AT + 300,
}  # fmt: skip


def a_provider(**more: Any) -> Provider:
    return read_providers(json.dumps([{**GIVEN, **more}]))[0]


def signed(claims: dict[str, Any], key: Any = RSA, alg: str = "RS256", **header: Any) -> str:
    """Return a token that is signed well, whatever it says."""
    made = {"alg": alg, "kid": key.kid, **header}
    head = part({k: v for k, v in made.items() if v is not None})
    body = f"{head}.{part(claims)}"
    return f"{body}.{part(jws.JWSRegistry.algorithms[alg].sign(body.encode(), key))}"


def read(
    token: object, keys: Any = None, algorithms: tuple[str, ...] = ALL, now: datetime = NOW
) -> dict[str, Any]:
    return read_id_token(
        token, a_provider(), keys or KEYS, algorithms=algorithms, nonce=NONCE, now=now
    )


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256")])
def test_a_good_token_is_read(key: Any, alg: str) -> None:
    assert read(signed(CLAIMS, key, alg)) == CLAIMS


def test_one_key_needs_no_name() -> None:
    token = signed(CLAIMS, kid=None)
    assert read(token)["sub"] == "s-1"
    two = {"keys": [*KEYS["keys"], RSAKey.generate_key(2048, {"kid": "b"}).as_dict(private=False)]}
    with pytest.raises(Unauthorized):
        read(token, two)


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "NONE", "", None, 1, ["RS256"], "rs256"])
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_j7_no_algorithm_is_none(alg: object, signature: str) -> None:
    with pytest.raises(Unauthorized):
        read(f"{part({'alg': alg, 'kid': 'rsa'})}.{part(CLAIMS)}.{signature}")


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("kid", ["rsa", None])
def test_j7_a_public_key_is_no_shared_secret(alg: str, kid: str | None) -> None:
    pem = RSA.as_pem(private=False)
    for secret in (pem, pem.strip(), RSA.as_der(private=False), json.dumps(KEYS).encode()):
        head = part({"alg": alg, "kid": kid} if kid else {"alg": alg})
        body = f"{head}.{part(CLAIMS)}"
        mac = hmac.digest(secret, body.encode(), f"sha{alg[2:]}")
        with pytest.raises(Unauthorized):
            read(f"{body}.{part(mac)}")


def test_j7_only_published_algorithms_and_keys_that_are_for_them() -> None:
    with pytest.raises(Unauthorized):
        read(signed(CLAIMS, EC, "ES256"), algorithms=("RS256",))
    for more in ({"use": "enc"}, {"alg": "RS512"}, {"kid": "RSA"}, {"kty": "oct", "k": "AAAA"}):
        keys = {"keys": [{**RSA.as_dict(private=False), **more}]}
        with pytest.raises(UnknownKey):
            read(signed(CLAIMS), keys)
    for broken in ({"keys": None}, {"keys": "x"}, {"keys": [None, "x", 1]}, {"a": 1}):
        with pytest.raises(UnknownKey):
            read(signed(CLAIMS), broken)


@pytest.mark.parametrize(
    "key",
    [{**RSA.as_dict(private=False), "n": "w" * 171}, {**RSA.as_dict(private=False), "n": "!"},
     {"kty": "RSA", "kid": "rsa"}, {"kty": "RSA", "kid": "rsa", "n": 1, "e": "AQAB"},
     {**RSA.as_dict(private=False), "e": None}],
)  # fmt: skip
def test_j7_a_key_that_is_weak_or_none(key: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        read(signed(CLAIMS), {"keys": [key]})
    bent = {**EC.as_dict(private=False), "crv": "X25519"}
    with pytest.raises(Unauthorized):
        read(signed(CLAIMS, EC, "ES256"), {"keys": [bent]})


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_j7_a_key_in_the_header_is_not_used(name: str) -> None:
    own = RSAKey.generate_key(2048, {"kid": "rsa"})
    offered: Any = own.as_dict(private=False) if name == "jwk" else "https://evil.example/jwks"
    offered = [offered] if name == "x5c" else offered
    body = f"{part({'alg': 'RS256', 'kid': 'rsa', name: offered})}.{part(CLAIMS)}"
    forged = jws.JWSRegistry.algorithms["RS256"].sign(body.encode(), own)
    with pytest.raises(Unauthorized):
        read(f"{body}.{part(forged)}")


CHANGES: list[dict[str, Any]] = [
    {"iss": ISSUER + "/"}, {"iss": "https://id.example.org.evil.example"}, {"iss": None},
    {"iss": [ISSUER]}, {"aud": "other"}, {"aud": None}, {"aud": []}, {"aud": ["other"]},
    {"aud": [CLIENT, "other"]}, {"aud": [CLIENT, "other"], "azp": "other"}, {"azp": "other"},
    {"aud": "zq2"}, {"aud": {"zq": 1}}, {"exp": AT - 31}, {"exp": None}, {"exp": str(AT + 300)},
    {"exp": 10**20}, {"exp": True},
    {"exp": AT - 5, "iat": AT - 5}, {"iat": AT + 31, "exp": AT + 99},
    {"iat": None}, {"nbf": AT + 31}, {"nbf": "x"}, {"nonce": None}, {"nonce": NONCE + "x"},
    {"nonce": ""}, {"nonce": [NONCE]}, {"nonce": "\ud800"}, {"sub": None}, {"sub": ""}, {"sub": 1},
    {"sub": "a" * 256}, {"sub": "a\n"}, {"sub": "a\x00"}, {"sub": "\ud800"},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_j7_every_claim_is_checked(change: dict[str, Any]) -> None:
    claims = {k: v for k, v in {**CLAIMS, **change}.items() if v is not None}
    with pytest.raises(Unauthorized):
        read(signed(claims))


def test_clocks_may_differ_a_little() -> None:
    assert read(signed({**CLAIMS, "exp": AT - 20, "iat": AT - 90}))
    assert read(signed({**CLAIMS, "iat": AT + 20, "nbf": AT + 20}))
    assert read(signed({**CLAIMS, "aud": [CLIENT, "x"], "azp": CLIENT}))


@pytest.mark.parametrize("header", [{"crit": ["b64"], "b64": False}, {"crit": ["exp"]},
                                    {"crit": []}, {"b64": False}])  # fmt: skip
def test_j7_what_a_header_demands(header: dict[str, Any]) -> None:
    body = f"{part({'alg': 'RS256', 'kid': 'rsa', **header})}.{part(CLAIMS)}"
    forged = jws.JWSRegistry.algorithms["RS256"].sign(body.encode(), RSA)
    with pytest.raises(Unauthorized):
        read(f"{body}.{part(forged)}")


@pytest.mark.parametrize(
    "token",
    [None, "", "a", "a.b", "a.b.c", "...", 5, {"a": 1}, "é.b.c", "a.b.c.d", "A" * 20_000,
     f"{part([1])}.{part({})}.AAAA", f"{part(b'{')}.{part({})}.AAAA",
     f"{part(b'[' * 9000)}.AA.AA", f"{part({'alg': 'RS256', 'kid': {'a': 1}})}.AA.AA"],
    ids=lambda token: str(token)[:20],
)  # fmt: skip
def test_j7_what_is_no_token(token: object) -> None:
    with pytest.raises((Unauthorized, UnknownKey)):
        read(token)


def test_j7_a_claim_that_is_there_twice() -> None:
    text = json.dumps(CLAIMS)[:-1] + ', "sub": "somebody-else"}'
    body = f"{part({'alg': 'RS256', 'kid': 'rsa'})}.{part(text.encode())}"
    made = jws.JWSRegistry.algorithms["RS256"].sign(body.encode(), RSA)
    with pytest.raises(Unauthorized):
        read(f"{body}.{part(made)}")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"allowed_domain": ["a.org"]}, "did you mean 'allowed_domains'"),
        ({"issuer": "http://id.example.org"}, "https"),
        ({"issuer": "https://id.example.org?x=1"}, "https"),
        ({"issuer": "https://u:p@id.example.org"}, "https"),
        ({"issuer": ""}, "missing"),
        ({"allowed_domains": ["*.example.org"]}, "no domain"),
        ({"allowed_domains": ["org"]}, "no domain"),
        ({"allowed_domains": "example.org"}, "list of texts"),
        ({"allow_sign_up": "no"}, "true or false"),
        ({"role_map": ["a"]}, "group -> role"),
        ({"scopes": ["email"]}, "openid"),
        ({"tenant": "main"}, "tenant's id"),
        ({"name": "../x"}, "name"),
        ({"preset": "gitlab"}, "preset"),
        ({"client_secret": 5}, "a text"),
    ],
)
def test_settings_that_will_not_do(given: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match="ZQ_OIDC__PROVIDERS") as caught:
        a_provider(**given)
    assert says in str(caught.value)


def test_settings_as_they_are_read() -> None:
    for text in ("{}", "[1]", "x", json.dumps([GIVEN, GIVEN])):
        with pytest.raises(SettingsError):
            read_providers(text)
    assert read_providers(" ") == ()
    presets = ("google", "github")
    given = [{"preset": one, "client_id": "a", "client_secret": "b-secret"} for one in presets]
    google, github = read_providers(json.dumps(given))
    assert (google.name, google.issuer) == ("google", "https://accounts.google.com")
    assert (github.name, github.api) == ("github", "https://api.github.com")
    assert "b-secret" not in repr(google)
    assert not google.allow_sign_up
    assert not google.link_verified
