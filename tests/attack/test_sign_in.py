"""Rows J7 and L3 on a living server: coming back from a provider, and pages of other servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest

from tests.api.conftest import build_core
from tests.api.role_matrix import routes_of
from tests.attack.outside import Outside
from tests.attack.stack import Stack, refused
from tests.attack.test_credentials import PASSWORD, person
from tests.integration.foreign import path_of
from tests.oidc_server import Provider
from web.app import create_app

BASE = "/api/v1/auth/oauth"
UNSAFE = [r for r in routes_of(create_app(build_core())) if r.method != "GET" and r.need]


@pytest.fixture
def browser(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30) as made:
        yield made


@pytest.fixture
def idp(outside: Outside) -> Provider:
    outside.idp.user("ada", email="ada@ok.com", email_verified=True)
    return outside.idp


def gone(browser: httpx.Client, query: str = "") -> str:
    """Start signing in; return where the browser is sent."""
    answer = browser.get(f"{BASE}/corp/start{query}")
    assert answer.status_code == 302, answer.text
    return answer.headers["Location"]


def back(browser: httpx.Client, provider: str = "corp", **brought: str) -> httpx.Response:
    return browser.get(f"{BASE}/{provider}/callback", params=brought)


def test_j7_an_answer_is_good_once_for_one_browser(
    stack: Stack, idp: Provider, browser: httpx.Client
) -> None:
    brought = idp.consent(gone(browser), "ada")
    with httpx.Client(base_url=stack.url) as other:
        refused(back(other, **brought), 401)
    # That used it up, for its own browser too.
    refused(back(browser, **brought), 401)
    brought = idp.consent(gone(browser), "ada")
    assert back(browser, **brought).status_code == 302
    assert browser.get("/api/v1/auth/me").json()["principal"]["name"] == "ada@ok.com"
    browser.cookies.delete("zq_access")
    refused(back(browser, **brought), 401)


BROUGHT: dict[str, Callable[[dict[str, str]], Mapping[str, str]]] = {
    "no state": lambda b: {"code": b["code"]},
    "an empty state": lambda b: {**b, "state": ""},
    "a state made up": lambda b: {**b, "state": "A" * 43},
    "a state in letters of others": lambda b: {**b, "state": "é" * 43},
    "no code": lambda b: {"state": b["state"]},
    "a code made up": lambda b: {**b, "code": "A" * 43},
    "another issuer": lambda b: {**b, "iss": "https://evil.example"},
    "another provider": lambda b: {**b, "provider": "other"},
}


@pytest.mark.parametrize("name", BROUGHT)
def test_j7_a_bent_answer_lets_nobody_in(
    name: str, stack: Stack, idp: Provider, browser: httpx.Client
) -> None:
    refused(back(browser, **BROUGHT[name](idp.consent(gone(browser), "ada"))), 400, 401)
    assert "zq_access" not in browser.cookies


def test_j7_a_code_is_of_one_sign_in(stack: Stack, idp: Provider, browser: httpx.Client) -> None:
    """PKCE: in another sign-in, also of the same browser, the verifier does not fit."""
    first = idp.consent(gone(browser), "ada")
    to = parse_qs(urlsplit(gone(browser)).query)
    assert to["code_challenge_method"] == ["S256"]
    refused(back(browser, code=first["code"], state=to["state"][0]), 401)
    assert back(browser, **first).status_code == 302
    third = parse_qs(urlsplit(gone(browser)).query)["state"][0]
    refused(back(browser, code=first["code"], state=third), 401)


def test_j7_nobody_is_sent_elsewhere(stack: Stack, browser: httpx.Client) -> None:
    for target in ("https://evil.example", "//evil.example", "/\\evil.example", "/\tevil", "@evil",
                   "javascript:alert(1)", "///evil", "/%0d%0aSet-Cookie:x=y\r\n"):  # fmt: skip
        refused(browser.get(f"{BASE}/corp/start", params={"next": target}), 400)
    for field in ("redirect_uri", "redirect", "return_to", "code_challenge_method"):
        refused(browser.get(f"{BASE}/corp/start", params={field: "https://evil.example"}), 400)
    own = f"{stack.url}{BASE}/corp/callback"
    assert parse_qs(urlsplit(gone(browser)).query)["redirect_uri"] == [own]


@pytest.mark.parametrize(
    "claims",
    [{"email_verified": False}, {"email_verified": "false"}, {"email": "a@ok.com.evil.com"},
     {"email": "a@evilok.com"}, {"email": "a@ok.com@evil.com"}, {"email": "a@ok.com\n@evil.com"},
     {"email": "a@sub.ok.com"}],
)  # fmt: skip
def test_j7_an_address_that_does_not_count(
    claims: dict[str, Any], stack: Stack, idp: Provider, browser: httpx.Client
) -> None:
    subject = uuid4().hex
    idp.user(subject, **{"email": f"{subject}@ok.com", "email_verified": True, **claims})
    refused(back(browser, **idp.consent(gone(browser), subject)), 403)
    assert "zq_access" not in browser.cookies


def test_j7_an_account_is_not_taken_over(
    stack: Stack, idp: Provider, browser: httpx.Client
) -> None:
    email = f"{uuid4().hex}@ok.com"
    body = {"email": email, "password": PASSWORD, "roles": ["owner"]}
    assert stack.http.post("/users", json=body).status_code == 201
    for verified in (False, True):
        idp.user("mallory", email=email, email_verified=verified)
        refused(back(browser, **idp.consent(gone(browser), "mallory")), 403)


@dataclass(frozen=True)
class Page:
    """A page of this server in a browser that has signed in, and what it sends."""

    browser: httpx.Client
    headers: Mapping[str, str]


@pytest.fixture(scope="module")
def page(stack: Stack) -> Iterator[Page]:
    body = {"email": person(stack, "owner").email, "password": PASSWORD, "cookie": True}
    with httpx.Client(base_url=stack.url, timeout=30) as browser:
        answer = browser.post("/api/v1/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        token = answer.json()["csrf_token"]
        yield Page(browser, {"Origin": stack.url, "X-CSRF-Token": token})


FORGED: dict[str, dict[str, str | None]] = {
    "nothing": {"Origin": None, "X-CSRF-Token": None},
    "no token": {"X-CSRF-Token": None},
    "no origin": {"Origin": None},
    "a token made up": {"X-CSRF-Token": "x" * 43},
    "another page": {"Origin": "https://evil.example"},
    "no name": {"Origin": "null"},
    "another page, by Referer": {"Origin": None, "Referer": "https://evil.example/"},
}


@pytest.mark.parametrize("name", FORGED)
def test_l3_no_other_page_changes_anything(name: str, stack: Stack, page: Page) -> None:
    sent = {k: v for k, v in {**page.headers, **FORGED[name]}.items() if v is not None}
    before = stack.stored()
    for route in UNSAFE:
        path = path_of(route.rule, {})
        problem = refused(page.browser.request(route.method, path, headers=sent), 403)
        assert "this needs the permission" not in problem["detail"], path
    assert stack.stored() == before
    me = page.browser.get("/api/v1/auth/me", headers={"Origin": "https://evil.example"})
    assert me.status_code == 200
    assert not [header for header in me.headers if header.startswith("access-control-")]
    assert page.browser.post("/api/v1/auth/ticket", headers=page.headers).status_code == 200


def test_l3_another_page_signs_nobody_in(stack: Stack) -> None:
    body = {"email": person(stack).email, "password": PASSWORD, "cookie": True}
    for origin in ("https://evil.example", "null"):
        headers = {"Origin": origin}
        refused(stack.ask("POST", "/auth/login", json=body, headers=headers), 403)
