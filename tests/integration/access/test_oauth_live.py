"""Signing in at a real provider with a real server, Postgres and Redis between them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import Databases
from tests.integration.serving import KEY, Web, serving
from tests.oidc_server import Provider, provider
from tests.waiting import wait_for

BASE = "/api/v1/auth/oauth/corp"
OWN = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def idp() -> Iterator[Provider]:
    with provider() as running:
        yield running


@pytest.fixture(scope="module")
def web(databases: Databases, redis_server_url: str, idp: Provider) -> Iterator[Web]:
    given = {
        "name": "corp", "issuer": idp.issuer, "client_id": "zq", "client_secret": "s",
        "allow_sign_up": True, "role_map": {"ops": "operator", "staff": "viewer"},
    }  # fmt: skip
    settings = {
        "OIDC__PROVIDERS": json.dumps([given]), "EGRESS__ALLOW": urlsplit(idp.issuer).netloc,
        "WEB__PROCESSES": 2, "LIMITS__SIGN_IN": "0",
    }  # fmt: skip
    with serving(databases.migrated(), redis_server_url, **settings) as running:
        yield running


def gone_there(web: Web, idp: Provider, browser: httpx.Client) -> dict[str, str]:
    """Go to the provider and sign in there; return what the browser brings back."""
    answer = browser.get(f"{web.url}{BASE}/start", params={"next": "/api/v1/runs"})
    assert answer.status_code == 302, answer.text
    return idp.consent(answer.headers["Location"], "ada")


def known(idp: Provider, *groups: str) -> None:
    idp.user("ada", email="ada@example.org", email_verified=True, groups=list(groups))


def test_somebody_signs_in_and_a_stolen_answer_is_worth_nothing(web: Web, idp: Provider) -> None:
    known(idp, "ops")
    with httpx.Client(timeout=30) as browser:
        brought = gone_there(web, idp, browser)
        # Of many at once, over two processes, one gets in.
        with ThreadPoolExecutor(8) as pool:
            cookies = dict(browser.cookies)
            answers = list(
                pool.map(
                    lambda _: httpx.get(
                        f"{web.url}{BASE}/callback", params=brought, cookies=cookies, timeout=30
                    ),
                    range(8),
                )
            )
        assert sorted(a.status_code for a in answers) == [302, *[401] * 7]
        good = next(a for a in answers if a.status_code == 302)
        assert good.headers["Location"] == "/api/v1/runs"
        browser.cookies.update(good.cookies)
        me = browser.get(f"{web.url}/api/v1/auth/me").json()
        assert (me["principal"]["name"], me["principal"]["roles"]) == (
            "ada@example.org", ["operator"],
        )  # fmt: skip
        assert browser.get(f"{web.url}/api/v1/runs").status_code == 200
        # The next sign-in, in another group, ends what the role gave.
        known(idp, "staff")
        with httpx.Client(timeout=30) as second:
            again = second.get(f"{web.url}{BASE}/callback", params=gone_there(web, idp, second))
            assert again.status_code == 302, again.text
            found = second.get(f"{web.url}/api/v1/auth/me").json()["principal"]
            assert (found["id"], found["roles"]) == (me["principal"]["id"], ["viewer"])
    told = httpx.get(f"{web.url}/api/v1/audit", headers=OWN, params={"limit": 200}).json()["items"]
    actions = {one["action"] for one in told}
    assert {"auth.user_created", "auth.sign_in", "auth.provider_refused"} <= actions


def test_first_sign_ins_at_the_same_moment_make_one_user(web: Web, idp: Provider) -> None:
    idp.user("bob", email="bob@example.org", email_verified=True, groups=["ops"])
    browsers = [httpx.Client(timeout=30) for _ in range(6)]
    try:
        trips = []
        for browser in browsers:
            to = browser.get(f"{web.url}{BASE}/start").headers["Location"]
            trips.append((browser, idp.consent(to, "bob")))
        with ThreadPoolExecutor(6) as pool:
            answers = list(
                pool.map(lambda t: t[0].get(f"{web.url}{BASE}/callback", params=t[1]), trips)
            )
        assert [a.status_code for a in answers] == [302] * 6, [a.text for a in answers]
        who = {b.get(f"{web.url}/api/v1/auth/me").json()["principal"]["id"] for b in browsers}
        assert len(who) == 1
    finally:
        for browser in browsers:
            browser.close()


def test_a_token_of_a_machine_ends_with_its_key(web: Web) -> None:
    body = {"name": "ci", "roles": ["viewer"]}
    made = httpx.post(f"{web.url}/api/v1/api-keys", headers=OWN, json=body).json()
    _, prefix, secret = made["key"].split("_", 2)
    url, form = f"{web.url}/api/v1/oauth/token", {"grant_type": "client_credentials"}
    answer = httpx.post(url, data=form, auth=(prefix, secret))
    assert answer.status_code == 200, answer.text
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert httpx.get(f"{web.url}/api/v1/runs", headers=bearer).status_code == 200
    httpx.delete(f"{web.url}/api/v1/api-keys/{made['id']}", headers=OWN).raise_for_status()
    wait_for(
        lambda: httpx.get(f"{web.url}/api/v1/runs", headers=bearer).status_code == 401,
        timeout_s=30,
    )
    assert httpx.post(url, data=form, auth=(prefix, secret)).json()["error"] == "invalid_client"
