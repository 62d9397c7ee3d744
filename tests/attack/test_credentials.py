"""Rows J1 to J6 and J8 on a living server: tokens and keys that are none, ends, and guessing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc.jwk import RSAKey

from orchestrator.models.access.permissions import ADMIN
from tests.attack.stack import Stack, refused, tells_nothing
from tests.attack.tenants import MARK, Tenant
from tests.integration.access.test_access_tokens import parts, signed
from tests.integration.access_rig import Rig
from tests.integration.serving import KEY
from tests.servers import Servers
from tests.waiting import wait_for

PASSWORD = "correct horse battery"
#: What an end may take to be heard of everywhere, seconds.
EVERYWHERE_S = 30.0
Claims = dict[str, Any]


@dataclass(frozen=True)
class Person:
    """A user of the default tenant, signed in."""

    id: str
    email: str
    tokens: Mapping[str, str]

    @property
    def token(self) -> str:
        return self.tokens["access_token"]


def person(stack: Stack, *roles: str) -> Person:
    """Make a user, and sign it in."""
    email = f"{time.monotonic_ns()}@example.org"
    body = {"email": email, "password": PASSWORD, "roles": roles or ["viewer"]}
    answer = stack.http.post("/users", json=body)
    assert answer.status_code == 201, answer.text
    return Person(answer.json()["id"], email, sign_in(stack, email).json())


def sign_in(stack: Stack, email: str, password: str = PASSWORD, **more: Any) -> httpx.Response:
    body = {"email": email, "password": password, **more}
    return stack.ask("POST", "/auth/login", json=body)


@pytest.fixture(scope="module")
def ada(stack: Stack) -> Person:
    return person(stack, "editor")


def nobody(stack: Stack, credential: str | bytes) -> None:
    """Check that a credential is none, where it is asked for permissions and where not."""
    for path in ("/auth/me", "/runs"):
        problem = refused(stack.ask("GET", path, credential), 401)  # type: ignore[arg-type]
        assert problem["code"] == "unauthorized"


def unsigned(header: Claims, claims: Claims) -> str:
    return signed(header, claims).rpartition(".")[0] + "."


def twice(claims: Claims, name: str) -> str:
    return json.dumps(claims)[:-1] + f', "{name}": "{uuid4()}"}}'


NOW = time.time()
LATER = 4_102_444_800
PUBLIC = RSAKey.generate_key(2048).as_pem(private=False)
TOKENS: dict[str, Callable[[Claims, Claims], str]] = {
    **{f"J1 {alg}": lambda h, c, alg=alg: signed({**h, "alg": alg}, c)
       for alg in ("none", "None", "nOnE", "RS256", "HS384", "")},
    **{f"J1 {alg} without a signature": lambda h, c, alg=alg: unsigned({**h, "alg": alg}, c)
       for alg in ("none", "HS256")},
    "J1 a public key as secret": lambda h, c: signed(h, c, PUBLIC),
    "J1 an empty key": lambda h, c: signed(h, c, b""),
    "J2 expired": lambda h, c: signed(h, {**c, "exp": int(NOW) - 60}),
    "J2 not yet": lambda h, c: signed(h, {**c, "nbf": LATER}),
    "J2 made later": lambda h, c: signed(h, {**c, "iat": LATER}),
    **{f"J2 no {name}": lambda h, c, name=name: signed(
        h, {k: v for k, v in c.items() if k != name})
       for name in ("exp", "iat", "aud", "iss", "jti", "sid", "sub")},
    "J2 exp as text": lambda h, c: signed(h, {**c, "exp": str(LATER)}),
    "J2 exp beyond": lambda h, c: signed(h, {**c, "exp": 10**20}),
    "J2 another aud": lambda h, c: signed(h, {**c, "aud": "zq/"}),
    "J2 another iss": lambda h, c: signed(h, {**c, "iss": "https://evil.example"}),
    **{f"J3 kid {kid!r}": lambda h, c, kid=kid: signed({**h, "kid": kid}, c)
       for kid in ("../../../../dev/null", "' OR 1=1 --", "https://evil.example/k", None, 0, [])},
    **{f"J3 {name}": lambda h, c, name=name, value=value: signed({**h, name: value}, c)
       for name, value in (("jku", "https://evil.example/k"), ("x5u", "https://evil.example/k"),
                           ("jwk", {"kty": "oct", "k": "AAAA"}), ("crit", ["x"]))},
    "J3 a claim twice": lambda h, c: signed(h, twice(c, "sub")),
    "J3 a header twice": lambda h, c: signed('{"alg": "none", ' + json.dumps(h)[1:], c),
    "J3 six KB": lambda h, c: signed(h, {**c, "jti": "x" * 4_500}),
    "J4 no tenant": lambda h, c: signed(h, {k: v for k, v in c.items() if k != "tenant"}),
    "J4 an empty tenant": lambda h, c: signed(h, {**c, "tenant": ""}),
    "J4 a tenant twice": lambda h, c: signed(h, twice(c, "tenant")),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENS)
def test_j1_to_j4_a_bent_token_is_none(name: str, stack: Stack, ada: Person) -> None:
    assert stack.ask("GET", "/auth/me", signed(*parts(ada.token))).status_code == 200
    nobody(stack, TOKENS[name](*parts(ada.token)))


def test_j3_a_megabyte(stack: Stack) -> None:
    with suppress(httpx.TransportError):
        assert stack.ask("GET", "/auth/me", "A" * 1_000_000).status_code in {400, 401, 431}


def test_j4_no_word_for_another_tenant_counts(stack: Stack, ada: Person, victim: Tenant) -> None:
    header, claims = parts(ada.token)
    nobody(stack, signed(header, {**claims, "tenant": str(victim.id)}))
    before = stack.stored()
    for name in ("X-Tenant", "X-Tenant-Id", "Tenant", "X-Forwarded-Tenant"):
        answer = stack.ask("GET", "/workflows", ada.token, headers={name: str(victim.id)})
        assert answer.status_code == 200
        assert MARK not in answer.text
    for name in ("tenant", "tenant_id"):
        refused(stack.ask("GET", "/workflows", ada.token, params={name: str(victim.id)}), 400)
        body = {"name": "x", "nodes": [{"id": "a", "type": "noop"}], name: str(victim.id)}
        refused(stack.ask("POST", "/workflows", ada.token, json=body), 422)
    path = f"/workflows/{victim.named['workflow_id']}"
    for method in ("GET", "DELETE"):
        refused(stack.ask(method, path, ada.token), 403, 404)
    assert stack.stored() == before


def _change(stack: Stack, one: Person, **change: Any) -> httpx.Response:
    body = {"name": "x", "roles": ["editor"], "state": "active", **change}
    return stack.http.put(f"/users/{one.id}", json=body)


ENDS: dict[str, Callable[[Stack, Person], httpx.Response]] = {
    "signed out": lambda s, one: s.ask("POST", "/auth/logout", one.token),
    "all sessions ended": lambda s, one: s.http.delete(f"/users/{one.id}/sessions"),
    "a role dropped": lambda s, one: _change(s, one, roles=["viewer"]),
    "disabled": lambda s, one: _change(s, one, state="disabled"),
    "deleted": lambda s, one: s.http.delete(f"/users/{one.id}"),
    "another password": lambda s, one: s.ask(
        "POST", "/auth/password", one.token,
        json={"current_password": PASSWORD, "new_password": "another fine password"}),
}  # fmt: skip


@pytest.mark.parametrize("how", ENDS)
def test_j5_an_end_is_an_end(how: str, stack: Stack) -> None:
    one = person(stack, "editor")
    assert ENDS[how](stack, one).is_success
    wait_for(
        lambda: stack.ask("GET", "/auth/me", one.token).status_code == 401, timeout_s=EVERYWHERE_S
    )
    nobody(stack, one.token)
    body = {"refresh_token": one.tokens["refresh_token"]}
    refused(stack.ask("POST", "/auth/refresh", json=body), 401)


def test_j5_a_refresh_token_used_again_ends_its_family(stack: Stack) -> None:
    one = person(stack)
    body = {"refresh_token": one.tokens["refresh_token"]}
    newest: Any = one.tokens
    for _ in range(2):
        answer = stack.ask("POST", "/auth/refresh", json={"refresh_token": newest["refresh_token"]})
        newest = answer.json()
    refused(stack.ask("POST", "/auth/refresh", json=body), 401)
    refused(
        stack.ask("POST", "/auth/refresh", json={"refresh_token": newest["refresh_token"]}), 401
    )
    wait_for(lambda: stack.ask("GET", "/auth/me", newest["access_token"]).status_code == 401)


def test_j5_a_session_planted_in_a_browser_gains_nothing(stack: Stack) -> None:
    """Whoever signs in gets tokens of their own, whatever cookies the browser had before."""
    mallory, victim = person(stack), person(stack, "editor")
    planted = {"zq_access": mallory.token, "zq_refresh": mallory.tokens["refresh_token"]}
    pairs = "; ".join(f"{name}={value}" for name, value in planted.items())
    answer = stack.ask(
        "POST", "/auth/login", headers={"Cookie": pairs},
        json={"email": victim.email, "password": PASSWORD, "cookie": True},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    fresh = dict(answer.cookies)
    assert set(fresh) == set(planted)
    assert not set(fresh.values()) & {*planted.values(), *victim.tokens.values()}
    me = stack.ask("GET", "/auth/me", mallory.token).json()
    assert me["principal"]["id"] == mallory.id
    assert parts(fresh["zq_access"])[1]["sid"] != parts(mallory.token)[1]["sid"]


KEYS: dict[str, Callable[[str], str]] = {
    "its prefix": lambda k: k[:16], "its prefix and a dash": lambda k: k[:17],
    "cut short": lambda k: k[:-1], "longer": lambda k: k + "A", "large": str.upper,
    "small": str.lower, "the other case": str.swapcase, "without its kind": lambda k: k[4:],
    "of another kind": lambda k: k.replace("zqk_", "zqr_"), "twice": lambda k: f"{k} {k}",
    "of another secret": lambda k: k[:17] + "A" * 43,
    "of another prefix": lambda k: "zqk_aaaaaaaaaaaa" + k[16:],
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_j6_a_bent_key_is_none(name: str, stack: Stack) -> None:
    key = stack.key("viewer")
    nobody(stack, KEYS[name](key))
    assert stack.ask("GET", "/runs", key).status_code == 200


def test_j6_keys_of_others_revoked_or_in_the_address(stack: Stack, servers: Servers) -> None:
    _, foreign = Rig(servers).access.keys.create(ADMIN, name="ci", roles=["owner"])
    nobody(stack, foreign)
    made = stack.http.post("/api-keys", json={"name": "j6", "roles": ["viewer"]}).json()
    for name in ("key", "api_key", "access_token", "token", "authorization"):
        refused(stack.ask("GET", "/runs", params={name: made["key"]}), 401)
    for header in ("X-Api-Key", "Api-Key", "Cookie"):
        refused(stack.ask("GET", "/runs", headers={header: made["key"]}), 401)
    assert stack.ask("GET", "/runs", made["key"]).status_code == 200
    assert stack.http.delete(f"/api-keys/{made['id']}").status_code == 204
    wait_for(
        lambda: stack.ask("GET", "/runs", made["key"]).status_code == 401, timeout_s=EVERYWHERE_S
    )


def guess(stack: Stack, email: str, address: str, **headers: str) -> httpx.Response:
    """Try a wrong password from an address of loopback."""
    body = {"email": email, "password": "guessed-in-vain"}
    way = httpx.HTTPTransport(local_address=address)
    with httpx.Client(transport=way, timeout=30) as client:
        url = f"{stack.url}/api/v1/auth/login"
        return client.post(url, json=body, headers=headers)


def test_j8_an_account_is_locked_whether_it_is_there_or_not(stack: Stack) -> None:
    """Same answers in the same order, so that nobody learns who has an account."""
    there = person(stack).email
    told = []
    for email, address in ((there, "127.0.0.8"), ("none@example.org", "127.0.0.9")):
        answers = [guess(stack, email, address) for _ in range(5)]
        assert [a.status_code for a in answers] == [401, 401, 401, 429, 429]
        for answer in answers:
            refused(answer, 401, 429)
        assert int(answers[-1].headers["Retry-After"]) > 0
        told.append([(a.json()["code"], a.json()["detail"]) for a in answers])
    assert told[0] == told[1]
    # Locked is locked: the right password does not tell that it is right.
    refused(sign_in(stack, there), 429)


def test_j8_an_address_is_what_it_is_whatever_it_forwards(stack: Stack) -> None:
    """Stuffing: other accounts each time, and a new X-Forwarded-For each time."""
    seen = []
    for no in range(8):
        headers = {"X-Forwarded-For": f"192.0.2.{no}", "Forwarded": f"for=192.0.2.{no}"}
        answer = guess(stack, f"stuffed{no}@example.org", "127.0.0.10", **headers)
        tells_nothing(answer)
        seen.append(answer.status_code)
    assert seen == [401] * 6 + [429] * 2
    assert guess(stack, "stuffed99@example.org", "127.0.0.11").status_code == 401
    assert stack.ask("GET", "/auth/me", KEY).status_code == 200
